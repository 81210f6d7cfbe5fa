"""PlanOperator: cuts a run's days into slices for the stages that are mapped over them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException

from windtunnel.airflow import run_params
from windtunnel.errors import RequestError

if TYPE_CHECKING:
    from airflow.sdk import Context


MOST_SLICES = 1024
"""Airflow maps a task over no more (core.max_map_length)."""


class PlanOperator(BaseOperator):
    """Returns [{start, end}, …], each of at most `slice_days` days.

    Light: it starts no stage, so it needs nothing of the stage environment. `setting` is the field of
    lifecycle.yaml that `slice_days` comes from, for errors.
    """

    ui_color = "#f4f1e4"

    def __init__(self, *, slice_days: int, setting: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.slice_days = slice_days
        self.setting = setting

    def execute(self, context: Context) -> list[dict[str, str]]:
        try:
            run_params.check_known("features", context["dag_run"].conf)
            window = run_params.window_of(context)
        except RequestError as error:
            raise AirflowFailException(str(error)) from None
        slices = [part.to_json() for part in window.slices(self.slice_days)]
        if len(slices) > MOST_SLICES:
            raise AirflowFailException(
                f"{window.start} to {window.end} are {len(slices)} slices of {self.slice_days} days, and "
                f"Airflow takes {MOST_SLICES} at most; ask for fewer days, or raise {self.setting} in "
                "lifecycle.yaml"
            )
        self.log.info(
            "%s to %s in %d slices of at most %d days", window.start, window.end, len(slices), self.slice_days
        )
        return slices

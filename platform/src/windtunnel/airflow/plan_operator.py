"""PlanOperator: cuts a run's days into slices for the stages that are mapped over them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException

from windtunnel.airflow import run_params
from windtunnel.errors import RequestError

if TYPE_CHECKING:
    from airflow.sdk import Context


class PlanOperator(BaseOperator):
    """Returns [{start, end}, …]. Light: it starts no stage, so it needs nothing of the stage environment."""

    ui_color = "#f4f1e4"

    def __init__(self, *, slice_days: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.slice_days = slice_days

    def execute(self, context: Context) -> list[dict[str, str]]:
        try:
            run_params.check_known("features", context["dag_run"].conf)
            window = run_params.window_of(context)
        except RequestError as error:
            raise AirflowFailException(str(error)) from None
        slices = [part.to_json() for part in window.slices(self.slice_days)]
        self.log.info(
            "%s to %s in %d slices of at most %d days", window.start, window.end, len(slices), self.slice_days
        )
        return slices

"""All that lifecycles ask of a worker, as DAGs that tests/component/airflow/test_workers.py runs."""

from __future__ import annotations

import logging
import os
import signal
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.providers.standard.triggers.temporal import TimeDeltaTrigger
from airflow.sdk import DAG, Asset, AssetAlias, BaseOperator, ObjectStoragePath

from windtunnel.airflow.stage_operator import StageOperator

LIFECYCLES = os.environ["WINDTUNNEL_LIFECYCLES"]
TOWER = Asset(name="wind/tower", uri="x-windtunnel://wind/tower")
DRIFT = Asset(name="wind/drift", uri="x-windtunnel://wind/drift")
SLICES = [{"start": "2013-01-01", "end": "2013-01-07"}, {"start": "2013-01-08", "end": "2013-01-14"}]


log = logging.getLogger(__name__)


class SecondTime(BaseOperator):
    """Works in its second try, and tells what it sees."""

    template_fields = ("says", "where")

    def __init__(self, *, says: str, where: ObjectStoragePath, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.says = says
        self.where = where

    def execute(self, context: Any) -> list[dict[str, str]]:
        if context["ti"].try_number == 1:
            raise RuntimeError("the first try fails")
        print("printed", self.says, "for", self.where)
        self.log.warning("said %s in run %s", self.says, os.environ["AIRFLOW_CTX_DAG_RUN_ID"])
        context["ti"].xcom_push(key="beside", value={"days": [14]})
        return SLICES


class Later(BaseOperator):
    """Lets its pod go while it waits for a trigger."""

    def execute(self, context: Any) -> None:
        self.log.info("waiting")
        self.defer(trigger=TimeDeltaTrigger(timedelta(0)), method_name="on", kwargs={"days": 14})

    def on(self, context: Any, event: Any, days: int) -> dict[str, Any]:
        self.log.info("going on after %s", event)
        return {"days": days, "event": event}


class Killed(BaseOperator):
    """Its process dies without a word, as one does that takes more memory than there is."""

    def execute(self, context: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


def tell(context: Any) -> None:
    log.info("called back about %s: %s", context["ti"].task_id, context.get("exception"))


def stage(name: str, **kwargs: Any) -> StageOperator:
    told = {"lifecycle": "wind", "stage": name, "lifecycles": LIFECYCLES, "stage_class": "small"}
    return StageOperator(**{"task_id": name} | told | kwargs)


with DAG(
    "work",
    schedule=None,
    start_date=datetime(2013, 1, 1, tzinfo=UTC),
    is_paused_upon_creation=False,
    max_active_runs=2,
    default_args={"retry_delay": timedelta(0)}
    | {f"on_{moment}_callback": tell for moment in ("execute", "success", "retry", "failure", "skipped")},
):
    first = SecondTime(
        task_id="first", says="{{ dag.dag_id }} of {{ params.day }}", retries=1, params={"day": 1},
        where=ObjectStoragePath("file:///days/{{ params.day }}"),
    )  # fmt: skip
    days = "{{ task.stage_params.start }} to {{ task.stage_params.end }}"
    StageOperator.partial(
        task_id="per_slice", lifecycle="wind", stage="extract", lifecycles=LIFECYCLES, stage_class="small",
        map_index_template=days,
    ).expand(stage_params=first.output)  # fmt: skip
    stage("publish", stage_params=SLICES[0], outlets=[TOWER])
    stage("monitor", outlets=[AssetAlias(DRIFT.name)], drift=DRIFT)
    refused = stage("snapshot", task_id="gate", gate=True)
    refused >> stage("snapshot", task_id="after_gate")
    ApprovalOperator(task_id="approve", subject="Roll out?", body="{{ run_id }}") >> Later(task_id="later")
    # They would go on for minutes. One is marked as failed, the pod of one is deleted, one may not go on.
    for_ever = {"stage_params": {"for": "ever"}, "priority_weight": 9}
    stage("snapshot", task_id="failed", view="tower", **for_ever)
    stage("snapshot", task_id="deleted", **for_ever)
    stage("score", task_id="late", execution_timeout=timedelta(seconds=30), **for_ever)
    Killed(task_id="killed")
    stage("extract", task_id="wrong", stage_params={"is": "wrong"}, retries=3)

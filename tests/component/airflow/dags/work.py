"""All that lifecycles ask of a worker, as DAGs that tests/component/airflow/test_workers.py runs."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.providers.standard.triggers.temporal import TimeDeltaTrigger
from airflow.sdk import DAG, Asset, AssetAlias, BaseOperator

from windtunnel.airflow.stage_operator import StageOperator

LIFECYCLES = os.environ["WINDTUNNEL_LIFECYCLES"]
TOWER = Asset(name="wind/tower", uri="x-windtunnel://wind/tower")
DRIFT = Asset(name="wind/drift", uri="x-windtunnel://wind/drift")
SLICES = [{"start": "2013-01-01", "end": "2013-01-07"}, {"start": "2013-01-08", "end": "2013-01-14"}]


class SecondTime(BaseOperator):
    """Works in its second try, and tells what it sees."""

    template_fields = ("says",)

    def __init__(self, *, says: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.says = says

    def execute(self, context: Any) -> list[dict[str, str]]:
        if context["ti"].try_number == 1:
            raise RuntimeError("the first try fails")
        print("printed", self.says)
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


def stage(name: str, **kwargs: Any) -> StageOperator:
    told = {"lifecycle": "wind", "stage": name, "lifecycles": LIFECYCLES, "stage_class": "small"}
    return StageOperator(**{"task_id": name} | told | kwargs)


with DAG(
    "work",
    schedule=None,
    start_date=datetime(2013, 1, 1, tzinfo=UTC),
    is_paused_upon_creation=False,
    max_active_runs=2,
    default_args={"retry_delay": timedelta(0)},
):
    first = SecondTime(
        task_id="first", says="{{ dag.dag_id }} of {{ params.day }}", retries=1, params={"day": 1}
    )
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
    # Both would go on for minutes. One is marked as failed, the pod of the other is deleted.
    stage("snapshot", task_id="failed", stage_params={"for": "ever"}, priority_weight=9)
    stage("snapshot", task_id="deleted", stage_params={"for": "ever"}, priority_weight=9)
    stage("extract", task_id="wrong", stage_params={"is": "wrong"}, retries=3)

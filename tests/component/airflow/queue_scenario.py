"""Airflow's own scheduler at the moment where it chooses, on lifecycles of ours and a database of its own.

`python -m …queue_scenario DIRECTORY` plays two lifecycles that score in 40 shards each, so that no place is
free, and a third that asks for one shard ten minutes later. It prints, as JSON, the order in which tasks were
given a place: [[dag id, map index], …]. It runs in a process of its own because Airflow reads its
configuration when it is imported, and is told by the environment whether the hook is on its path.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from airflow.executors.base_executor import BaseExecutor
from airflow.executors.executor_utils import ExecutorName
from airflow.jobs.job import Job
from airflow.jobs.scheduler_job_runner import SchedulerJobRunner
from airflow.models.dagbundle import DagBundleModel
from airflow.models.serialized_dag import SerializedDagModel
from airflow.models.taskinstance import TaskInstance
from airflow.serialization.definitions.dag import SerializedDAG
from airflow.serialization.serialized_objects import DagSerialization, LazyDeserializedDAG
from airflow.utils.db import initdb
from airflow.utils.session import create_session
from airflow.utils.state import DagRunState, TaskInstanceState
from airflow.utils.types import DagRunTriggeredByType, DagRunType
from sqlalchemy import update

from windtunnel.airflow import pools, stage_classes
from windtunnel.airflow.dag_factory import lifecycle_dags

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
BUNDLE = "lifecycles"


class Places(BaseExecutor):
    """An executor that only knows how many places are free."""

    name = ExecutorName(module_path="queue_scenario.Places", alias="places")
    free = 0

    @property
    def slots_available(self) -> int:
        return self.free


def main(directory: Path) -> None:
    stage_classes.DIRECTORY = directory / "pod-templates"
    initdb()
    pools.main([str(stage_classes.DIRECTORY / stage_classes.POOLS)])
    with create_session() as session:
        session.merge(DagBundleModel(name=BUNDLE))
        session.flush()
        made = lifecycle_dags(directory / "lifecycles")
        dags = {name: store(dag, session) for name, dag in made.items() if name.endswith("__score")}
        for name, came in (("big_a", 0), ("big_b", 1), ("small", 10)):
            begin(dags[f"{name}__score"], NOON + timedelta(minutes=came), session)
        session.commit()
        print(json.dumps(play(session)))


def store(dag: Any, session: Any) -> Any:
    """As the dag-processor stores it."""
    data = DagSerialization.to_dict(dag)
    stored = DagSerialization.from_dict(data)
    lazy = LazyDeserializedDAG(data=data)
    SerializedDAG.bulk_write_to_db(BUNDLE, None, [lazy], session=session)
    SerializedDagModel.write_dag(lazy, bundle_name=BUNDLE, session=session)
    session.flush()
    return stored


def begin(dag: Any, when: datetime, session: Any) -> None:
    """As the scheduler begins a run by hand; all of its tasks are ready."""
    run = dag.create_dagrun(
        run_id=f"manual__{when.isoformat()}",
        logical_date=when,
        data_interval=(when, when),
        run_after=when,
        run_type=DagRunType.MANUAL,
        triggered_by=DagRunTriggeredByType.TEST,
        state=DagRunState.RUNNING,
        start_date=when,
        session=session,
    )
    for task in run.get_task_instances(session=session):
        task.state = TaskInstanceState.SCHEDULED
    session.flush()


def play(session: Any) -> list[tuple[str, int]]:
    """One place becomes free at a time, of 8; the longest running stage ends."""
    executor = Places(parallelism=8)
    runner = SchedulerJobRunner(job=Job(), executors=[executor])
    order: list[tuple[str, int]] = []
    running: list[tuple[str, int]] = []
    while True:
        executor.free = 8 - len(running)
        chosen = runner._executable_task_instances_to_queued(max_tis=executor.free, session=session)
        if not chosen and not running:
            return order
        running += [(task.dag_id, task.map_index) for task in chosen]
        assert len(running) <= 8
        dag_id, map_index = running.pop(0)
        order.append((dag_id, map_index))
        # The scheduler has made them queued, which holds a place as running does.
        ended = update(TaskInstance).where(TaskInstance.dag_id == dag_id, TaskInstance.map_index == map_index)
        session.execute(ended.values(state=TaskInstanceState.SUCCESS))
        session.commit()


if __name__ == "__main__":
    main(Path(sys.argv[1]))

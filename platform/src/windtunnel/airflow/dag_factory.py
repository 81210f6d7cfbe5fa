"""Lifecycles → DAGs: `<name>__features`, `<name>__train`, `<name>__score`, `<name>__monitor`.

Every parse of the DAG file comes through here, in the dag-processor and in each worker, so it imports the
spec and airflow.sdk and nothing else, and a worker builds only the lifecycle that its task belongs to.
"""

from __future__ import annotations

import logging
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import (
    DAG,
    Asset,
    AssetAlias,
    AssetAll,
    AssetOrTimeSchedule,
    CronDataIntervalTimetable,
    get_parsing_context,
)
from airflow.sdk.configuration import conf

from windtunnel.airflow import dag_docs
from windtunnel.airflow.plan_operator import PlanOperator
from windtunnel.airflow.run_params import params_of
from windtunnel.airflow.stage_operator import StageOperator
from windtunnel.errors import SpecError
from windtunnel.spec import load_lifecycle
from windtunnel.spec.lifecycle import DRIFT_ASSET
from windtunnel.spec.stages import STAGES

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.definitions.mappedoperator import MappedOperator

    from windtunnel.spec import Lifecycle

log = logging.getLogger(__name__)

POD_TEMPLATES = Path("/opt/windtunnel/pod-templates")
"""One file per stage class; mounted where DAGs are parsed and pods are made, not in the pods themselves."""
ROLLOUT_CLASS = "rollout"
"""The one stage class whose pods may reach the Kubernetes API."""
# For any scheme without the x- Airflow imports every provider, to ask whether it normalises such URIs: half a
# second of CPU in each parse.
_ASSET_SCHEME = "x-windtunnel"
# Before anything that could be scheduled; without catch-up only its being in the past matters.
_START = datetime(2020, 1, 1, tzinfo=UTC)
_RETRY_DELAY = timedelta(seconds=10)
_SLICE_NAME = "{{ task.stage_params.start }} to {{ task.stage_params.end }}"


def lifecycle_dags(directory: Path) -> dict[str, DAG]:
    """DAGs by id, of every lifecycle below `directory`.

    A broken lifecycle gives one DAG, `<name>__broken`, that says what is wrong. It must not raise: Airflow
    counts an import error against the file and marks every DAG of the file as stale, so one team's typing
    error would stop all the others' schedules.
    """
    wanted = _wanted_lifecycle()
    dags: dict[str, DAG] = {}
    for path in sorted(path.parent for path in directory.glob("*/lifecycle.yaml")):
        if wanted in (None, path.name):
            dags |= {dag.dag_id: dag for dag in _dags_of(path)}
    return dags


def _wanted_lifecycle() -> str | None:
    """In a worker, the lifecycle of its task; None where all are asked for."""
    dag_id = get_parsing_context().dag_id
    return dag_id.rpartition("__")[0] if dag_id else None


def _dags_of(directory: Path) -> list[DAG]:
    try:
        lifecycle = load_lifecycle(directory)
        if lifecycle.name != directory.name:
            raise SpecError(
                f"metadata.name is {lifecycle.name!r} in a directory named {directory.name!r}",
                where=str(directory / "lifecycle.yaml"),
                fix="give both the same name",
            )
        _check_classes(lifecycle, directory)
        factory = LifecycleDags(lifecycle, directory)
        return [factory.features(), factory.train(), factory.score(), factory.monitor()]
    except Exception as error:
        log.exception("lifecycle %s is broken; its DAGs are not made", directory.name)
        return [_broken(directory.name, error)]


def _check_classes(lifecycle: Lifecycle, directory: Path) -> None:
    """Raises SpecError for a class that the platform lacks, or that a stage must not have."""
    known = {path.stem for path in POD_TEMPLATES.glob("*.yaml")}
    for name, settings in lifecycle.spec.stages.items():
        where = f"{directory / 'lifecycle.yaml'}: stages.{name}.class"
        offered = ", ".join(sorted(known - {ROLLOUT_CLASS}))
        if settings.stage_class == ROLLOUT_CLASS and name != "rollout":
            # Its pods may change what serves; user code must not run in them.
            raise SpecError(
                f"class {ROLLOUT_CLASS!r} is for the rollout alone", where=where, fix="take another"
            )
        if known and settings.stage_class not in known:
            raise SpecError(
                f"there is no stage class {settings.stage_class!r}", where=where, fix=f"there are {offered}"
            )


def _broken(directory: str, error: Exception) -> DAG:
    # Of any directory, whatever it is called: Airflow refuses ids with spaces, and long tags.
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", directory)[:80]
    return DAG(
        f"{name}__broken",
        description=str(error).partition("\n")[0],
        schedule=None,
        is_paused_upon_creation=False,
        tags=["windtunnel", "broken", name],
        doc_md=dag_docs.broken(directory, error),
    )


class LifecycleDags:
    """The DAGs of one lifecycle."""

    def __init__(self, lifecycle: Lifecycle, directory: Path) -> None:
        self.lifecycle = lifecycle
        self.directory = directory
        self.assets = {view: self._asset(view) for view in lifecycle.spec.features.views}
        self.drift = self._asset(DRIFT_ASSET)

    def features(self) -> DAG:
        """plan → extract per slice → transform per slice → materialize per view and slice → publish.

        Two plans, side by side, because the slices of materialize are longer, and Airflow maps over one list
        of a task only.
        """
        features = self.lifecycle.spec.features
        with self._dag("features", _cron(features.schedule)) as dag:
            plan = self._plan("plan", features.slice_days, "features.sliceDays")
            long_plan = self._plan(
                "plan_materialize", features.materialize_slice_days, "features.materializeSliceDays"
            )
            extract, transform = (self._per_slice(name, name, plan) for name in ("extract", "transform"))
            publish = StageOperator(**self._stage("publish"), outlets=list(self.assets.values()))
            extract >> transform
            for view in self.assets:
                materialize = self._per_slice("materialize", f"materialize.{view}", long_plan, view=view)
                transform >> materialize >> publish
        return dag

    def train(self) -> DAG:
        """snapshot → train → evaluate, the gate → approve where a human must → rollout."""
        with self._dag("train", self._training_schedule()) as dag:
            tasks: dict[str, BaseOperator] = {}
            for name in ("snapshot", "train", "evaluate", "rollout"):
                sources = dict.fromkeys(STAGES[name].inputs.values())
                tasks[name] = StageOperator(
                    **self._stage(name),
                    results={source: tasks[source].output for source in sources},
                    gate=name == "evaluate",
                )
            if self.lifecycle.spec.approval.required:
                tasks["evaluate"] >> self._approve() >> tasks["rollout"]
        return dag

    def score(self) -> DAG:
        """score, per shard."""
        shards = self.lifecycle.spec.scoring.shards
        with self._dag("score", None) as dag:
            shard_name = "shard {{ task.stage_params.shard + 1 }} of {{ task.stage_params.shards }}"
            StageOperator.partial(**self._stage("score"), map_index_template=shard_name).expand(
                stage_params=[{"shard": shard, "shards": shards} for shard in range(shards)]
            )
        return dag

    def monitor(self) -> DAG:
        """monitor, which tells of drift by an alias: an outlet would in every run that succeeds."""
        with self._dag("monitor", _cron(self.lifecycle.spec.monitoring.schedule)) as dag:
            StageOperator(**self._stage("monitor"), outlets=[AssetAlias(self.drift.name)], drift=self.drift)
        return dag

    def _training_schedule(self) -> Any:
        """Its own (features, cron, or none), or the drift asset where the lifecycle wants that."""
        spec = self.lifecycle.spec
        if spec.training.schedule == "features":
            views = list(self.assets.values())
            return AssetAll(*views) | self.drift if spec.monitoring.retrain.on_drift else views
        cron = _cron(spec.training.schedule)
        if not spec.monitoring.retrain.on_drift:
            return cron
        return AssetOrTimeSchedule(timetable=cron, assets=[self.drift]) if cron else [self.drift]

    def _asset(self, name: str) -> Asset:
        return Asset(
            name=f"{self.lifecycle.name}/{name}", uri=f"{_ASSET_SCHEME}://{self.lifecycle.name}/{name}"
        )

    def _plan(self, task_id: str, slice_days: int, setting: str) -> PlanOperator:
        return PlanOperator(
            task_id=task_id,
            slice_days=slice_days,
            setting=setting,
            executor_config=_pod("small"),
            retries=1,
            retry_delay=_RETRY_DELAY,
            doc_md=dag_docs.STAGES[task_id],
        )

    def _per_slice(self, stage: str, task_id: str, plan: PlanOperator, **kwargs: Any) -> MappedOperator:
        """A task of the stage for each slice of a plan, named after its days."""
        settings = self._stage(stage) | {"task_id": task_id, "map_index_template": _SLICE_NAME} | kwargs
        return StageOperator.partial(**settings).expand(stage_params=plan.output)

    def _dag(self, dag: str, schedule: Any) -> DAG:
        metadata = self.lifecycle.metadata
        return DAG(
            f"{metadata.name}__{dag}",
            description=f"{dag_docs.PURPOSES[dag]} {metadata.description}".strip(),
            schedule=schedule,
            start_date=_START,
            catchup=False,
            # Runs of one lifecycle would race for the same partitions and for the promotion.
            max_active_runs=1,
            max_active_tasks=_pods_of_one_run(),
            # It is in the repository, so it is meant to run; when, its schedule says.
            is_paused_upon_creation=False,
            params=params_of(dag),
            tags=["windtunnel", metadata.name, dag],
            default_args={"owner": metadata.owner},
            doc_md=dag_docs.lifecycle(self.lifecycle, dag),
        )

    def _stage(self, name: str) -> dict[str, Any]:
        """What every task of a stage has."""
        settings = self.lifecycle.stage(name)
        stage_class = ROLLOUT_CLASS if name == "rollout" else settings.stage_class
        return {
            "task_id": name,
            "lifecycle": self.lifecycle.name,
            "stage": name,
            "lifecycles": str(self.directory.parent),
            "stage_class": stage_class,
            "window_params": _WINDOW_PARAMS.get(name, ()),
            "asked_params": _ASKED_PARAMS.get(name, ()),
            "execution_timeout": settings.timeout,
            "retries": settings.retries,
            "retry_delay": _RETRY_DELAY,
            "executor_config": _pod(stage_class),
            "doc_md": dag_docs.STAGES[name],
        }

    def _approve(self) -> BaseOperator:
        # Imported where a lifecycle asks for it: the import takes longer than all the rest of a parse.
        from airflow.providers.standard.operators.hitl import ApprovalOperator

        return ApprovalOperator(
            task_id="approve",
            subject=f"Roll out a new model of {self.lifecycle.name}?",
            body=dag_docs.APPROVAL_BODY,
            executor_config=_pod("small"),
            retries=1,
            retry_delay=_RETRY_DELAY,
            doc_md=dag_docs.STAGES["approve"],
        )


# What each stage is told of the run's days; for those that are mapped over slices the slices say it.
_WINDOW_PARAMS = {
    "publish": ("start", "end"),
    "snapshot": ("end",),
    "score": ("start", "end"),
    "monitor": ("start", "end"),
}
# Params of the run that a stage gets as they are.
_ASKED_PARAMS = {"score": ("version",), "monitor": ("version", "folder")}


def _pods_of_one_run() -> int:
    """Half of the pods that may run at once: a backfill of two years has hundreds of slices, and would have
    all other lifecycles wait until it is through.
    """
    return max(1, int(conf.getint("core", "parallelism")) // 2)


def _cron(schedule: str | None) -> CronDataIntervalTimetable | None:
    """With intervals, so that a weekly run covers its week and a backfill covers the past."""
    return CronDataIntervalTimetable(schedule, timezone="UTC") if schedule else None


def _pod(stage_class: str) -> dict[str, str]:
    return {"pod_template_file": f"{POD_TEMPLATES}/{stage_class}.yaml"}

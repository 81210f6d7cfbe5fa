"""Lifecycles → DAGs: `<name>__features`, `<name>__train`, `<name>__score`, `<name>__monitor`; and
`windtunnel__retain` for all of them.

Every parse of the DAG file comes through here, in the dag-processor and in each worker, so it imports the
spec and airflow.sdk and nothing else, and a worker builds only the lifecycle that its task belongs to.
"""

from __future__ import annotations

import logging
import re
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
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
from airflow.sdk.definitions.param import ParamsDict

from windtunnel.airflow import dag_docs, stage_classes
from windtunnel.airflow.plan_operator import PlanOperator
from windtunnel.airflow.run_params import params_of
from windtunnel.airflow.stage_operator import StageOperator
from windtunnel.errors import SpecError
from windtunnel.spec import load_lifecycle
from windtunnel.spec.lifecycle import DRIFT_ASSET
from windtunnel.spec.stages import RETAIN_DAG, STAGES, lifecycle_of, retain_task

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from airflow.sdk import BaseOperator
    from airflow.sdk.definitions.mappedoperator import MappedOperator

    from windtunnel.spec import Lifecycle

log = logging.getLogger(__name__)

ROLLOUT_CLASS = "rollout"
"""The one stage class whose pods may reach the Kubernetes API."""
_WITHOUT_USER_CODE = ("rollout", "retain")
"""Stages that are of that class, and no others."""
_RETAIN_SCHEDULE = "47 3 * * *"
_RETAINED_AT_ONCE = 2
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
    asked = get_parsing_context()
    wanted = _wanted_lifecycle(asked.dag_id, asked.task_id)
    slots = stage_classes.slots(stage_classes.DIRECTORY)
    dags: list[DAG] = []
    sound: list[LifecycleDags] = []
    for path in sorted(path.parent for path in directory.glob("*/lifecycle.yaml")):
        if wanted in (None, path.name):
            try:
                lifecycle = _factory(path, slots)
                dags += [lifecycle.features(), lifecycle.train(), lifecycle.score(), lifecycle.monitor()]
                sound.append(lifecycle)
            except Exception as error:
                log.exception("lifecycle %s is broken; its DAGs are not made", path.name)
                dags.append(_broken(path.name, error))
    if sound and asked.dag_id in (None, RETAIN_DAG):
        dags.append(_retain(sound))
    return {dag.dag_id: dag for dag in dags}


def _wanted_lifecycle(dag_id: str | None, task_id: str | None) -> str | None:
    """In a worker, the lifecycle of its task; None where all are asked for."""
    if not dag_id or (dag_id == RETAIN_DAG and not task_id):
        return None
    return lifecycle_of(dag_id, task_id or "")


def _retain(lifecycles: Sequence[LifecycleDags]) -> DAG:
    """A task for each lifecycle, beside each other. A broken lifecycle has none: who knows what it keeps."""
    with _made(
        RETAIN_DAG,
        "retain",
        description=dag_docs.PURPOSES["retain"],
        schedule=_cron(_RETAIN_SCHEDULE),
        # The places are those of rollouts.
        max_active_tasks=_RETAINED_AT_ONCE,
        is_paused_upon_creation=False,
        tags=["windtunnel", "retain"],
        doc_md=dag_docs.RETAIN,
    ) as dag:
        for one in lifecycles:
            one.retain()
    return dag


@contextmanager
def _made(dag_id: str, params: str, **settings: Any) -> Iterator[DAG]:
    """A DAG to put tasks into, with what all of ours have; `params` names whose params it takes."""
    # Runs of one DAG would race for the same partitions, for the promotion, or for what is to be deleted.
    with DAG(dag_id, start_date=_START, catchup=False, max_active_runs=1, **settings) as made:
        yield made
    # Not before: each task would copy all of them. And past the setter, which holds the defaults against
    # their JSON schemas at every parse; they are the same for all lifecycles, and a test does it once.
    object.__setattr__(made, "params", ParamsDict(params_of(params)))


def _factory(directory: Path, slots: Mapping[str, int]) -> LifecycleDags:
    """What makes the lifecycle's DAGs. Raises SpecError."""
    lifecycle = load_lifecycle(directory)
    if lifecycle.name != directory.name:
        raise SpecError(
            f"metadata.name is {lifecycle.name!r} in a directory named {directory.name!r}",
            where=str(directory / "lifecycle.yaml"),
            fix="give both the same name",
        )
    _check_classes(lifecycle, directory, slots)
    return LifecycleDags(lifecycle, directory, slots)


def _check_classes(lifecycle: Lifecycle, directory: Path, known: Collection[str]) -> None:
    """Raises SpecError for a class that the platform lacks, or that a stage must not have."""
    for name, settings in lifecycle.spec.stages.items():
        where = f"{directory / 'lifecycle.yaml'}: stages.{name}.class"
        offered = ", ".join(sorted(set(known) - {ROLLOUT_CLASS}))
        if settings.stage_class == ROLLOUT_CLASS and name not in _WITHOUT_USER_CODE:
            # Its pods may change what serves; user code must not run in them.
            raise SpecError(
                f"class {ROLLOUT_CLASS!r} is for stages that run no code of yours",
                where=where,
                fix="take another",
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


class _Asset(Asset):
    """An Asset that is hashed by what names it.

    Airflow hashes a DAG for each arrow in it, with its schedule, and an Asset by all that it holds as JSON:
    a tenth of a parse.
    """

    def __hash__(self) -> int:
        return hash(self.uri)


class LifecycleDags:
    """The DAGs of one lifecycle."""

    def __init__(self, lifecycle: Lifecycle, directory: Path, slots: Mapping[str, int]) -> None:
        """`slots`: how many stages of a class may run at once; empty in a worker, which decides nothing."""
        self.lifecycle = lifecycle
        self.directory = directory
        self.slots = slots
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

    def retain(self) -> BaseOperator:
        """The lifecycle's task in the DAG that is being made."""
        task_id, owner = retain_task(self.lifecycle.name), self.lifecycle.metadata.owner
        return StageOperator(**self._stage("retain") | {"task_id": task_id, "owner": owner})

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
        return _Asset(
            name=f"{self.lifecycle.name}/{name}", uri=f"{_ASSET_SCHEME}://{self.lifecycle.name}/{name}"
        )

    def _plan(self, task_id: str, slice_days: int, setting: str) -> PlanOperator:
        return PlanOperator(
            task_id=task_id,
            slice_days=slice_days,
            setting=setting,
            **_place("small"),
            retries=1,
            retry_delay=_RETRY_DELAY,
            doc_md=dag_docs.STAGES[task_id],
        )

    def _per_slice(self, stage: str, task_id: str, plan: PlanOperator, **kwargs: Any) -> MappedOperator:
        """A task of the stage for each slice of a plan, named after its days."""
        settings = self._stage(stage) | {"task_id": task_id, "map_index_template": _SLICE_NAME} | kwargs
        return StageOperator.partial(**settings).expand(stage_params=plan.output)

    @contextmanager
    def _dag(self, dag: str, schedule: Any) -> Iterator[DAG]:
        metadata = self.lifecycle.metadata
        with _made(
            f"{metadata.name}__{dag}",
            dag,
            description=f"{dag_docs.PURPOSES[dag]} {metadata.description}".strip(),
            schedule=schedule,
            max_active_tasks=self._most_at_once(dag),
            # It is in the repository, so it is meant to run; when, its schedule says.
            is_paused_upon_creation=False,
            tags=["windtunnel", metadata.name, dag],
            default_args={"owner": metadata.owner},
            doc_md=dag_docs.lifecycle(self.lifecycle, dag),
        ) as made:
            yield made

    def _stage(self, name: str) -> dict[str, Any]:
        """What every task of a stage has."""
        settings = self.lifecycle.stage(name)
        stage_class = self._class(name)
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
            **_place(stage_class),
            "doc_md": dag_docs.STAGES[name],
        }

    def _class(self, name: str) -> str:
        return ROLLOUT_CLASS if name in _WITHOUT_USER_CODE else self.lifecycle.stage(name).stage_class

    def _most_at_once(self, dag: str) -> int:
        """Half of what its stages' classes have, and of all pods: a backfill of two years has hundreds of
        slices, and would have all other lifecycles wait until it is through.
        """
        classes = {self._class(name) for name, stage in STAGES.items() if stage.dag == dag}
        places = [int(conf.getint("core", "parallelism"))]
        places += [self.slots[name] for name in classes if name in self.slots]
        return max(1, min(places) // 2)

    def _approve(self) -> BaseOperator:
        # Imported where a lifecycle asks for it: the import takes longer than all the rest of a parse.
        from airflow.providers.standard.operators.hitl import ApprovalOperator

        return ApprovalOperator(
            task_id="approve",
            subject=f"Roll out a new model of {self.lifecycle.name}?",
            body=dag_docs.APPROVAL_BODY,
            **_place("small"),
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
_ASKED_PARAMS = {"score": ("version",), "monitor": ("version", "folder"), "retain": ("dry_run",)}


def _cron(schedule: str | None) -> CronDataIntervalTimetable | None:
    """With intervals, so that a weekly run covers its week and a backfill covers the past."""
    return CronDataIntervalTimetable(schedule, timezone="UTC") if schedule else None


def _place(stage_class: str) -> dict[str, Any]:
    """Where a task of the class runs, and whose places it takes."""
    template = stage_classes.pod_template(stage_class)
    return {"executor_config": {"pod_template_file": template}, "pool": stage_classes.pool_of(stage_class)}

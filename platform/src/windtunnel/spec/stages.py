"""The stages of a lifecycle, what each takes from which, and what passes between them.

Airflow's DAGs and the laptop's runner are both built from `STAGES`, so they cannot disagree; the requests and
results cross process and machine borders as JSON.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

if TYPE_CHECKING:
    from collections.abc import Mapping

Dag = Literal["features", "train", "score", "monitor", "retain"]
DAGS: Final[tuple[Dag, ...]] = get_args(Dag)
RETAIN_DAG: Final = "windtunnel__retain"
"""The one DAG that is not a lifecycle's: it has a task for each (`retain_task`)."""
StageName = Literal[
    "extract",
    "transform",
    "materialize",
    "publish",
    "snapshot",
    "train",
    "evaluate",
    "rollout",
    "score",
    "monitor",
    "retain",
]
Mapped = Literal["slice", "view_slice", "shard"]


@dataclass(frozen=True)
class Stage:
    """One step of a lifecycle.

    `inputs` names each input and the stage whose output of the same name it is; `after` are the stages that
    must have ended, with or without a reference to pass on. `mapped` is what the stage is run once per: a
    slice of the run's days, a slice for each view, or a shard.
    """

    name: StageName
    dag: Dag
    after: tuple[StageName, ...] = ()
    inputs: Mapping[str, StageName] = field(default_factory=dict)
    outputs: tuple[str, ...] = ()
    mapped: Mapped | None = None


STAGES: dict[str, Stage] = {
    stage.name: stage
    for stage in (
        Stage("extract", "features", outputs=("partitions",), mapped="slice"),
        Stage("transform", "features", after=("extract",), outputs=("features",), mapped="slice"),
        Stage("materialize", "features", after=("transform",), outputs=("online",), mapped="view_slice"),
        Stage("publish", "features", after=("materialize",), outputs=("published",)),
        Stage("snapshot", "train", outputs=("snapshot",)),
        Stage("train", "train", ("snapshot",), {"snapshot": "snapshot"}, ("model", "bundle")),
        Stage(
            "evaluate",
            "train",
            ("train",),
            {"snapshot": "snapshot", "model": "train", "bundle": "train"},
            ("verdict",),
        ),
        Stage(
            "rollout",
            "train",
            ("evaluate",),
            {"verdict": "evaluate", "model": "train", "bundle": "train"},
            ("promotion",),
        ),
        Stage("score", "score", outputs=("scores",), mapped="shard"),
        Stage("monitor", "monitor", outputs=("measure",)),
        Stage("retain", "retain"),
    )
}
"""In the order in which a whole run goes through them; `monitor` and `retain` come again and again."""


def retain_task(lifecycle: str) -> str:
    """Its task in the DAG for all."""
    return f"retain.{lifecycle}"


def lifecycle_of(dag_id: str, task_id: str) -> str:
    """Whose a task is, by the names of DAGs and tasks that are made here; empty for another's."""
    return task_id.partition(".")[2] if dag_id == RETAIN_DAG else dag_id.rpartition("__")[0]


@dataclass(frozen=True)
class Reference:
    """A small name for something big; `digest` is `sha256:<hex>`, `meta` is JSON."""

    kind: str
    uri: str
    digest: str
    rows: int = 0
    bytes: int = 0
    meta: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Reference:
        return cls(
            kind=str(value["kind"]),
            uri=str(value["uri"]),
            digest=str(value["digest"]),
            rows=int(value.get("rows", 0)),
            bytes=int(value.get("bytes", 0)),
            meta=dict(value.get("meta", {})),
        )


@dataclass(frozen=True)
class StageRequest:
    """What a stage is asked to do: names and references, never data."""

    lifecycle: str
    stage: str
    run_id: str
    try_number: int = 1
    params: dict[str, Any] = field(default_factory=dict)
    inputs: dict[str, Reference] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> StageRequest:
        return cls(
            lifecycle=str(value["lifecycle"]),
            stage=str(value["stage"]),
            run_id=str(value["run_id"]),
            try_number=int(value.get("try_number", 1)),
            params=dict(value.get("params", {})),
            inputs={name: Reference.from_json(item) for name, item in value.get("inputs", {}).items()},
        )


@dataclass(frozen=True)
class StageResult:
    """What a stage made (`outputs`) and small figures about it (`facts`: JSON)."""

    outputs: dict[str, Reference] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    cached: bool = False

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> StageResult:
        return cls(
            outputs={name: Reference.from_json(item) for name, item in value.get("outputs", {}).items()},
            facts=dict(value.get("facts", {})),
            cached=bool(value.get("cached", False)),
        )

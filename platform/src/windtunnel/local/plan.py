"""The steps of a run on a laptop: each stage of `STAGES` once, but materialize per view and slice."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from windtunnel.errors import IntegrityError, RequestError
from windtunnel.spec.slices import slices
from windtunnel.spec.stages import STAGES, Dag, Reference, Stage, StageRequest, StageResult

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from windtunnel.local.partitions import Days
    from windtunnel.spec import Lifecycle


OF_NO_DAYS = frozenset[Dag]({"monitor", "retain"})
"""What looks at all that there is: no part of a run, which is about days."""
_WHOLE_RUN = tuple(stage for stage in STAGES.values() if stage.dag not in OF_NO_DAYS)


@dataclass(frozen=True)
class Step:
    """One child process to be. `name` is what users see: the stage, for materialize the view, and of several
    slices the days.
    """

    name: str
    stage: Stage
    params: dict[str, Any] = field(default_factory=dict)

    def request(
        self, lifecycle: str, run_id: str, results: Mapping[str, StageResult], *, force: bool
    ) -> StageRequest:
        """The request, with inputs from the results of earlier stages (by stage name)."""
        return StageRequest(
            lifecycle=lifecycle,
            stage=self.stage.name,
            run_id=run_id,
            params={**self.params, "force": force},
            inputs={name: _output(results, source, name) for name, source in self.stage.inputs.items()},
        )


def plan(lifecycle: Lifecycle, days: Days | None, dag: Dag | None = None) -> list[Step]:
    """Steps in order, of one DAG (`features` is a backfill), or of a whole run: then scoring takes the last
    day, and nothing is monitored that was not asked yet. OF_NO_DAYS needs no days.
    """
    steps: list[Step] = []
    for stage in STAGES.values():
        if stage.dag == dag or (dag is None and stage in _WHOLE_RUN):
            steps += _steps(stage, lifecycle, days, dag)
    return steps


def forced_stages(first: str | None) -> set[str]:
    """Stages that are done anew: `first` and what follows; none without it. Raises RequestError."""
    if first is None:
        return set()
    names: list[str] = [stage.name for stage in _WHOLE_RUN]
    if first not in names:
        raise RequestError(f"there is no stage {first!r}", fix=f"the stages are {', '.join(names)}")
    return set(names[names.index(first) :])


def _steps(stage: Stage, lifecycle: Lifecycle, days: Days | None, dag: Dag | None) -> list[Step]:
    if days is None:
        return [Step(stage.name, stage)]
    features = lifecycle.spec.features
    whole = _window(days)
    if stage.mapped == "view_slice":
        return _materializations(stage, features.views, slices(*days, features.materialize_slice_days))
    if stage.mapped == "slice":
        # Of a backfill one sees how far it is; a run goes through its days in one process.
        parts = slices(*days, features.slice_days) if dag == "features" else [days]
        return [Step(_name(stage.name, part, parts), stage, params) for part, params in _mapped(parts)]
    if stage.mapped == "shard":
        # Asked for alone it takes all days. One machine has no use for shards.
        first = whole["start"] if dag == "score" else whole["end"]
        return [Step(stage.name, stage, {"start": first, "end": whole["end"], "shard": 0, "shards": 1})]
    if stage.name == "publish":
        return [Step(stage.name, stage, whole)]
    return [Step(stage.name, stage, {"end": whole["end"]} if stage.name == "snapshot" else {})]


def _materializations(stage: Stage, views: Sequence[str], parts: list[Days]) -> list[Step]:
    return [
        Step(_name(f"{stage.name}.{view}", part, parts), stage, {**params, "view": view})
        for view in views
        for part, params in _mapped(parts)
    ]


def _mapped(parts: list[Days]) -> list[tuple[Days, dict[str, Any]]]:
    """Each slice with its params; numbered, as Airflow does, where there is more than one."""
    if len(parts) == 1:
        return [(parts[0], _window(parts[0]))]
    return [(part, {**_window(part), "map_index": index}) for index, part in enumerate(parts)]


def _name(name: str, part: Days, parts: list[Days]) -> str:
    return f"{name} {part[0]}..{part[1]}" if len(parts) > 1 else name


def _window(days: Days) -> dict[str, Any]:
    return {"start": days[0].isoformat(), "end": days[1].isoformat()}


def _output(results: Mapping[str, StageResult], stage: str, name: str) -> Reference:
    outputs = results[stage].outputs
    if name not in outputs:
        raise IntegrityError(f"stage {stage} gave no {name!r}; it gave {', '.join(outputs) or 'nothing'}")
    return outputs[name]

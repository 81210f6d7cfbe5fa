"""The steps of a run on a laptop: every stage of `STAGES`, once, except one materialize per view."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from windtunnel.errors import IntegrityError, RequestError
from windtunnel.spec.stages import STAGES, Reference, Stage, StageRequest, StageResult

if TYPE_CHECKING:
    from collections.abc import Mapping

    from windtunnel.local.partitions import Days
    from windtunnel.spec import Lifecycle


@dataclass(frozen=True)
class Step:
    """One child process to be. `name` is what users see: the stage, and for materialize the view."""

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


def plan(lifecycle: Lifecycle, days: Days) -> list[Step]:
    """Steps in order; batch scoring takes the last day."""
    steps: list[Step] = []
    for stage in STAGES.values():
        steps += _steps(stage, lifecycle, days)
    return steps


def forced_stages(first: str | None) -> set[str]:
    """Stages that are done anew: `first` and what follows; none without it. Raises RequestError."""
    if first is None:
        return set()
    names: list[str] = list(STAGES)
    if first not in names:
        raise RequestError(f"there is no stage {first!r}", fix=f"the stages are {', '.join(names)}")
    return set(names[names.index(first) :])


def _steps(stage: Stage, lifecycle: Lifecycle, days: Days) -> list[Step]:
    first, last = (day.isoformat() for day in days)
    whole = {"start": first, "end": last}
    if stage.mapped == "view":
        return [
            Step(f"{stage.name}.{view}", stage, {**whole, "view": view, "map_index": index})
            for index, view in enumerate(lifecycle.spec.features.views)
        ]
    if stage.mapped == "slice":
        return [Step(stage.name, stage, whole)]
    if stage.mapped == "shard":
        return [Step(stage.name, stage, {"start": last, "end": last, "shard": 0, "shards": 1})]
    return [Step(stage.name, stage, {"end": last} if stage.name == "snapshot" else {})]


def _output(results: Mapping[str, StageResult], stage: str, name: str) -> Reference:
    outputs = results[stage].outputs
    if name not in outputs:
        raise IntegrityError(f"stage {stage} gave no {name!r}; it gave {', '.join(outputs) or 'nothing'}")
    return outputs[name]

"""Promotion: the compare-and-swap that gives a version the champion's seat, exactly once per run.

Three things must hold together: the champion is the one that the verdict was made against, nobody writes in
between (resource version), and a repeat with the same run id changes nothing. So however often a pod dies and
is started again, and whoever else promotes or rolls back meanwhile, a version takes the seat once or not at
all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from windtunnel.errors import ConflictError, TemporaryError
from windtunnel.rollout.taking_back import TakenBack
from windtunnel.spec.servedmodel import (
    Metadata,
    ModelVersion,
    Promotion,
    ServedModel,
    ServedModelSpec,
    ServingSettings,
    object_name,
)

if TYPE_CHECKING:
    from datetime import datetime

    from windtunnel.rollout.served_models import ServedModels

_TRIES = 5


@dataclass(frozen=True)
class Candidate:
    """What shall be promoted, and against which champion it was judged."""

    lifecycle: str
    champion: ModelVersion
    expected_champion: str | None
    """Version that the verdict compared with; None: nothing served."""
    serving: ServingSettings
    run_id: str
    by: str


@dataclass(frozen=True)
class Promoted:
    """The ServedModel after the promotion.

    `changed` is False when the version sat there already; `ours` tells whether this run gave it the seat.
    """

    served_model: ServedModel
    changed: bool
    ours: bool


def promote(served_models: ServedModels, candidate: Candidate, now: datetime) -> Promoted:
    """Swap the champion. Raises ConflictError, naming who was first, when the expected champion no longer
    serves, or when the guard took the version back as a challenger; TemporaryError when others write to the
    ServedModel all the time.

    A version that serves already keeps its seat and its promotion; new serving settings reach it all the
    same.
    """
    name = object_name(candidate.lifecycle)
    for _ in range(_TRIES):
        current = served_models.get(name)
        seated = current is not None and current.spec.champion == candidate.champion
        if current is not None and seated and current.spec.serving == candidate.serving:
            return Promoted(current, changed=False, ours=_is_ours(current, candidate))
        if current is not None and not seated:
            _expect(current, candidate)
            _refuse_taken_back(current, candidate)
        try:
            written = _write(served_models, current, candidate, now)
            return Promoted(written, changed=not seated, ours=_is_ours(written, candidate))
        except ConflictError:
            # Somebody wrote in between: look again, the write may not touch the champion, or may be ours
            # whose answer was lost.
            continue
    raise TemporaryError(
        f"somebody else wrote in between {_TRIES} times in a row; nothing was changed",
        where=f"ServedModel {name}",
        fix="try again",
    )


def _is_ours(model: ServedModel, candidate: Candidate) -> bool:
    return model.spec.promotion is not None and model.spec.promotion.run_id == candidate.run_id


def _expect(current: ServedModel, candidate: Candidate) -> None:
    serves = current.spec.champion.version
    if serves == candidate.expected_champion:
        return
    judged = (
        f"the verdict compares version {candidate.champion.version} with {candidate.expected_champion}"
        if candidate.expected_champion
        else f"the verdict on version {candidate.champion.version} found no champion"
    )
    promotion = current.spec.promotion
    winner = (
        f", promoted by {promotion.by or 'unknown'} in run {promotion.run_id} at {promotion.at.isoformat()}"
        if promotion
        else ""
    )
    raise ConflictError(
        f"{judged}, but version {serves} serves{winner}; nothing was changed",
        where=f"ServedModel {current.metadata.name}",
        fix="evaluate again, so that the challenger is judged against the version that serves",
    )


def _refuse_taken_back(current: ServedModel, candidate: Candidate) -> None:
    """Raise ConflictError when the guard took the version back, and nobody has sent it requests since."""
    spec, said = current.spec, TakenBack.of(current)
    if spec.challenger != candidate.champion or said is None or spec.traffic or spec.shadow:
        return
    raise ConflictError(
        f"the guard took version {said.version} back at {said.at}: {said.reason}: {said.message}; "
        "nothing was changed",
        where=f"ServedModel {current.metadata.name}",
        fix="train a better one; or give it traffic again, or take it out as challenger, and then promote it",
    )


def _write(
    served_models: ServedModels, current: ServedModel | None, candidate: Candidate, now: datetime
) -> ServedModel:
    promotion = Promotion(run_id=candidate.run_id, at=now, by=candidate.by)
    if current is None:
        spec = ServedModelSpec(
            lifecycle=candidate.lifecycle,
            champion=candidate.champion,
            promotion=promotion,
            serving=candidate.serving,
        )
        return served_models.create(
            ServedModel(metadata=Metadata(name=object_name(candidate.lifecycle)), spec=spec)
        )
    changes: dict[str, Any] = {"serving": candidate.serving}
    if current.spec.champion != candidate.champion:
        changes |= {
            "champion": candidate.champion,
            "previous": current.spec.champion,
            "challenger": None,
            "traffic": 0,
            "shadow": False,
            "promotion": promotion,
        }
    wanted = current.model_copy(update={"spec": current.spec.model_copy(update=changes)})
    return served_models.replace(wanted, current.metadata.resource_version or "")

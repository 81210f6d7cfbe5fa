"""Promotion: the compare-and-swap that gives a version the champion's seat, exactly once per run.

Three things must hold together: the champion is the one that the verdict was made against, nobody writes in
between (resource version), and a repeat with the same run id changes nothing. So however often a pod dies and
is started again, and whoever else promotes or rolls back meanwhile, a version takes the seat once or not at
all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from windtunnel.errors import ConflictError, NotFoundError
from windtunnel.rollout.change import change, crowded
from windtunnel.rollout.history import promoted_by, seat, taken_back, with_act
from windtunnel.spec.servedmodel import Metadata, ServedModel, ServedModelSpec, object_name

if TYPE_CHECKING:
    from datetime import datetime

    from windtunnel.rollout.served_models import ServedModels
    from windtunnel.spec.servedmodel import (
        GuardSettings,
        ModelVersion,
        PredictionLogSettings,
        ServingSettings,
    )


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """What shall be promoted, and against which champion it was judged."""

    lifecycle: str
    champion: ModelVersion
    expected_champion: str | None
    """Version that the verdict compared with; None: nothing served."""
    run_id: str
    """Empty: by hand."""
    by: str
    rolled_out: bool = False
    """By a rollout of this run, which must still stand; else another run's rollout must not."""
    reason: str = ""
    evidence: str = ""
    """URI of what the decision rests on."""
    serving: ServingSettings | None = None
    """This and the next ones: None leaves what is there."""
    guard: GuardSettings | None = None
    keep_warm: int | None = None
    prediction_log: PredictionLogSettings | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """What the lifecycle says about serving, as fields of the spec."""
        optional = {
            "serving": self.serving,
            "guard": self.guard,
            "keep_warm": self.keep_warm,
            "prediction_log": self.prediction_log,
        }
        return {name: value for name, value in optional.items() if value is not None}


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
    serves, when this run had its promotion before, or when the version was taken back as a challenger (a
    promotion by hand may do that); TemporaryError when others write to the ServedModel all the time, or too
    many acts wait for the ledger.

    A version that serves already keeps its seat; new settings reach it all the same.
    """
    name = object_name(candidate.lifecycle)
    seated = False

    def decide(current: ServedModel) -> dict[str, Any] | None:
        nonlocal seated
        seated = current.spec.champion == candidate.champion
        settings = candidate.settings
        if seated:
            return None if all(getattr(current.spec, k) == v for k, v in settings.items()) else settings
        _check(current, candidate)
        return {**settings, **_new_champion(current, candidate, now)}

    for _ in range(2):
        try:
            written, _ = change(served_models, name, decide)
        except NotFoundError:
            try:
                return Promoted(_create(served_models, candidate, now), changed=True, ours=True)
            except ConflictError:
                continue  # somebody made it in between
        act = seat(written)
        ours = act is not None and act.action == "promotion" and act.run_id == candidate.run_id
        return Promoted(written, changed=not seated, ours=ours)
    raise crowded(name)


def _check(current: ServedModel, candidate: Candidate) -> None:
    """Raise ConflictError unless the candidate may take the seat."""
    before = promoted_by(current, candidate.run_id)
    if before is not None and before.version == candidate.champion.version:
        _refuse(
            current,
            f"run {candidate.run_id} promoted version {before.version} before, at {before.at.isoformat()}; "
            f"now version {current.spec.champion.version} serves",
            "if it shall serve after all, start a new run: a repeat never undoes a rollback",
        )
    _expect(current, candidate)
    if candidate.run_id:
        _expect_rollout(current, candidate)
    said = taken_back(current, candidate.champion)
    spec = current.spec
    stands = spec.challenger == candidate.champion and not spec.traffic and not spec.shadow
    if candidate.run_id and stands and said is not None:
        _refuse(
            current,
            f"version {said.version} was taken back at {said.at.isoformat()}: {said.reason}",
            "train a better one; or give it traffic again, or take it out as challenger, and then promote it",
        )


def _expect(current: ServedModel, candidate: Candidate) -> None:
    serves = current.spec.champion.version
    if serves == candidate.expected_champion:
        return
    if not candidate.run_id:
        judged = f"version {candidate.champion.version} was to replace version {candidate.expected_champion}"
    elif candidate.expected_champion:
        judged = (
            f"the verdict compares version {candidate.champion.version} with {candidate.expected_champion}"
        )
    else:
        judged = f"the verdict on version {candidate.champion.version} found no champion"
    act = seat(current)
    how = "promoted" if act and act.action == "promotion" else "rolled back to"
    run = f" in run {act.run_id}" if act and act.run_id else ""
    winner = f", {how} by {act.by or 'unknown'}{run} at {act.at.isoformat()}" if act else ""
    _refuse(
        current,
        f"{judged}, but version {serves} serves{winner}",
        "evaluate again, so that the challenger is judged against the version that serves"
        if candidate.run_id
        else "look again: `windtunnel status`",
    )


def _expect_rollout(current: ServedModel, candidate: Candidate) -> None:
    spec, rollout = current.spec, current.spec.rollout
    if rollout is not None and rollout.run_id != candidate.run_id:
        version = spec.challenger.version if spec.challenger else "none"
        _refuse(
            current,
            f"run {rollout.run_id} is rolling out version {version}",
            "wait for its end, or end it: `windtunnel rollback`",
        )
    if candidate.rolled_out and (rollout is None or spec.challenger != candidate.champion):
        _refuse(
            current,
            f"somebody ended the rollout of version {candidate.champion.version}",
            "start a new run, if it shall serve after all",
        )


def _refuse(current: ServedModel, what: str, fix: str) -> NoReturn:
    raise ConflictError(f"{what}; nothing was changed", where=f"ServedModel {current.metadata.name}", fix=fix)


def _new_champion(current: ServedModel, candidate: Candidate, now: datetime) -> dict[str, Any]:
    changes = {
        "champion": candidate.champion,
        "previous": current.spec.champion,
        "challenger": None,
        "traffic": 0,
        "shadow": False,
        "rollout": None,
    }
    return with_act(
        changes,
        current,
        "promotion",
        candidate.champion,
        at=now,
        by=candidate.by,
        replaced=current.spec.champion.version,
        run_id=candidate.run_id,
        reason=candidate.reason,
        evidence=candidate.evidence,
    )


def _create(served_models: ServedModels, candidate: Candidate, now: datetime) -> ServedModel:
    """The first champion of a lifecycle. Whether one was expected plays no part: nothing serves."""
    fields = {"lifecycle": candidate.lifecycle, "champion": candidate.champion, **candidate.settings}
    spec = ServedModelSpec(
        **with_act(
            fields,
            None,
            "promotion",
            candidate.champion,
            at=now,
            by=candidate.by,
            run_id=candidate.run_id,
            reason=candidate.reason,
            evidence=candidate.evidence,
        )
    )
    return served_models.create(
        ServedModel(metadata=Metadata(name=object_name(candidate.lifecycle)), spec=spec)
    )

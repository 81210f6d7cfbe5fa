"""Rollback: a former champion takes the seat again, and whatever was on its way to it is ended.

Decided, because two people press the same button at three in the morning:

- Without a version it goes to `spec.previous`: what served before the champion was promoted. Afterwards
  `previous` is what served before that one, so the next rollback goes further back, never forth again to what
  was just rolled back from.
- Who rolls back says which champion from (`expected`), as it was shown to them. If another one serves by
  then, nothing is changed; if the wanted one does, that was the other person, and all is well.
- Without a version and without having looked (`expected` None, a script), a second rollback within two
  minutes of the first is refused: it is nearly always the same alarm.
- A rollback ends the rollout that goes on: challenger, traffic and shadow go, since the challenger was judged
  against the champion that goes. To the version that serves already, that is all a rollback does.
- The bundle is looked at first where a store can be asked (`check`). One that is gone or has another digest
  is refused before anything changes; a store that does not answer holds up no rollback: serving verifies what
  it loads, and goes on with what it has.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from windtunnel.digests import digest
from windtunnel.errors import ConflictError, IntegrityError, NotFoundError, RequestError
from windtunnel.registry.renewal import MANIFEST
from windtunnel.rollout.change import change
from windtunnel.rollout.history import acts, before, former_champions, seat, with_act

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from windtunnel.objects import ObjectStore
    from windtunnel.rollout.served_models import ServedModels
    from windtunnel.spec.servedmodel import Act, ModelVersion, ServedModel

ANNOTATION: Final = "windtunnel.dev/rollback"
PREVIOUS: Final = "previous"
"""The annotation's word for `spec.previous`."""
SAME_ALARM: Final = timedelta(minutes=2)


@dataclass(frozen=True)
class RolledBack:
    """The ServedModel afterwards; `changed` is False when the version served already and nothing was on its
    way; `act` tells of it."""

    served_model: ServedModel
    changed: bool
    act: Act | None


@dataclass(frozen=True)
class RollbackPlan:
    """What a rollback would do."""

    champion: ModelVersion
    target: ModelVersion
    challenger: ModelVersion | None
    """Ends with it."""

    @property
    def moves(self) -> bool:
        """Whether another version takes the seat."""
        return self.target != self.champion


def plan(model: ServedModel, to: str | None) -> RollbackPlan:
    """Where a rollback to this version (None: the previous one) goes. Raises NotFoundError when there is no
    such former champion."""
    spec = model.spec
    return RollbackPlan(spec.champion, _target(model, to), spec.challenger)


def roll_back(
    served_models: ServedModels,
    name: str,
    to: str | None,
    by: str,
    now: datetime,
    *,
    reason: str = "",
    expected: str | None = None,
    check: Callable[[ModelVersion], None] | None = None,
    annotation: str = "",
) -> RolledBack:
    """Give a former champion the seat, in one compare-and-swap with the act that tells of it.

    `expected` is the version of the champion that the caller has seen, `annotation` one that asks for it and
    goes with it: once that is gone, nothing is done.
    Raises NotFoundError (no such former champion, or what `check` raises), ConflictError (another champion
    serves by now, or the same alarm rang twice), TemporaryError (others write all the time): nothing was
    changed then.
    """
    goal: ModelVersion | None = None
    seen = expected

    def decide(current: ServedModel) -> dict[str, Any] | None:
        nonlocal goal, seen
        if annotation and annotation not in (current.metadata.annotations or {}):
            return None  # done already, though the answer was lost; or somebody thought better of it
        _expect(current, goal.version if goal else to, seen)
        if goal is None:
            if to is None and expected is None:
                _same_alarm(current, now)
            goal = _target(current, to)
            seen = seen or current.spec.champion.version
            if check is not None and goal != current.spec.champion and not _is_warm(current, goal):
                check(goal)
        return _changes(current, goal, by, now, reason)

    written, changed = change(served_models, name, decide, drop_annotation=annotation)
    return RolledBack(written, changed, acts(written)[-1] if changed and acts(written) else None)


def check_bundle(store: ObjectStore, version: ModelVersion) -> None:
    """Raises NotFoundError or IntegrityError when the bundle cannot be served, StoreError when the store
    does not answer. A bundle in another store is nobody's to judge here."""
    try:
        key = store.key(f"{version.bundle.rstrip('/')}/{MANIFEST}")
    except RequestError:
        return
    fix = f"restore it from a backup, or choose a version other than {version.version}"
    try:
        found = digest(store.get(key))
    except NotFoundError as error:
        raise NotFoundError(
            f"the bundle of version {version.version} is gone; nothing was changed",
            where=version.bundle,
            fix=fix,
        ) from error
    if found != version.digest:
        raise IntegrityError(
            f"the bundle of version {version.version} was changed: its digest is {found[:19]}…, not "
            f"{version.digest[:19]}…; nothing was changed",
            where=version.bundle,
            fix=fix,
        )


def _target(model: ServedModel, to: str | None) -> ModelVersion:
    champion, former = model.spec.champion, former_champions(model)
    if to is not None:
        found = next((one for one in (champion, *former) if one.version == to), None)
        missing = f"version {to} never was the champion, as far as the history goes"
        fix = f"`windtunnel promote NAME {to}` gives a registered version the seat"
    else:
        found = model.spec.previous
        missing = f"there is no champion before version {champion.version}"
        fix = "name a version"
    if found is not None:
        return found
    known = ", ".join(one.version for one in former)
    raise NotFoundError(
        f"{missing}; nothing was changed",
        where=f"ServedModel {model.metadata.name}",
        fix=f"{fix}; former champions: {known or 'none'}",
    )


def _expect(current: ServedModel, to: str | None, expected: str | None) -> None:
    serves = current.spec.champion.version
    if expected is None or serves in (expected, to):
        return
    act = seat(current)
    who = f" ({act.action} by {act.by} at {act.at.isoformat(timespec='seconds')})" if act else ""
    raise ConflictError(
        f"version {expected} was to be replaced, but version {serves} serves by now{who}; "
        "nothing was changed",
        where=f"ServedModel {current.metadata.name}",
        fix="look again: `windtunnel status`",
    )


def _same_alarm(current: ServedModel, now: datetime) -> None:
    act = seat(current)
    if act is None or act.action != "rollback" or abs(now - act.at) > SAME_ALARM:  # clocks may differ
        return
    raise ConflictError(
        f"{act.by or 'somebody'} rolled back from version {act.replaced} to {act.version} "
        f"{max(0, round((now - act.at).total_seconds()))} s ago; nothing was changed",
        where=f"ServedModel {current.metadata.name}",
        fix="if version "
        + (f"{act.version} is bad as well, name where to go" if current.spec.previous else "it")
        + (f": {current.spec.previous.version}" if current.spec.previous else ""),
    )


def _is_warm(model: ServedModel, version: ModelVersion) -> bool:
    return model.status is not None and version.version in model.status.warm


def _changes(
    current: ServedModel, goal: ModelVersion, by: str, now: datetime, reason: str
) -> dict[str, Any] | None:
    spec = current.spec
    ended = {"challenger": None, "traffic": 0, "shadow": False, "rollout": None}
    run_id = spec.rollout.run_id if spec.rollout else ""
    if goal == spec.champion:
        if spec.challenger is None:
            return None
        why = reason or "its rollout was ended by hand"
        return with_act(
            ended, current, "taken_back", spec.challenger, at=now, by=by, run_id=run_id, reason=why
        )
    if spec.challenger is not None:
        also = f"the challenger, version {spec.challenger.version}, goes with it"
        reason = f"{reason} ({also})" if reason else also
    return with_act(
        {**ended, "champion": goal, "previous": before(current, goal)},
        current,
        "rollback",
        goal,
        at=now,
        by=by,
        replaced=spec.champion.version,
        reason=reason,
    )

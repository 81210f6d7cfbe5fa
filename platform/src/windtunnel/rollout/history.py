"""History: what was done to a ServedModel, kept in its spec and written together with what it tells of.

An act is part of the compare-and-swap that changes who serves, so no crash comes between the two. The ledger
in the object store follows later (`mirror`), which is why it may be away at any time. Whose promotion it was,
whether a challenger was taken back, where a rollback goes: all of it is read here.

Somebody may change `spec.champion` without an act (`kubectl edit`, or a release that kept no history).
Whoever writes the next act, the controller at the latest, tells of that first.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from windtunnel.errors import TemporaryError
from windtunnel.spec.servedmodel import SEATED, Act, ModelVersion

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from windtunnel.spec.servedmodel import Action, ServedModel

log = logging.getLogger(__name__)

KEPT: Final = 20
"""Newest acts that stay, and newest acts that gave the seat; older ones go once they are in the ledger."""
MOST: Final = 64
RESERVED: Final = 16
"""Places for rollbacks and takings back, which must not wait until an object store is there again."""
BY_HAND: Final = "kubectl"


def acts(model: ServedModel | None) -> tuple[Act, ...]:
    """The acts, the oldest first."""
    return tuple(model.spec.history) if model else ()


def with_act(
    changes: Mapping[str, Any],
    model: ServedModel | None,
    action: Action,
    version: ModelVersion,
    *,
    at: datetime,
    by: str,
    replaced: str | None = None,
    run_id: str = "",
    reason: str = "",
    evidence: str = "",
) -> dict[str, Any]:
    """The changes of the spec with a history that tells of them; `model` is what they are made to, None
    what is about to be created.

    `replaced` is the champion that loses its seat. Raises TemporaryError when so many acts wait for the
    ledger that a promotion or a refusal has to wait too; a rollback and a taking back never do.
    """
    told = told_history(model, at) if model else ()
    act = Act(
        number=_next_number(model, told),
        action=action,
        version=version.version,
        bundle=version.bundle,
        digest=version.digest,
        replaced=replaced,
        run_id=run_id[:250],
        at=at,
        by=by[:250],
        reason=reason[:1024],
        evidence=evidence[:1024],
    )
    history = (*_kept(told, recorded(model)), act)
    waits = action in ("promotion", "refusal")
    if len(history) <= (MOST - RESERVED if waits else MOST):
        return {**changes, "history": history}
    if waits:
        raise TemporaryError(
            f"{len(history) - 1} acts wait for the ledger; nothing was changed",
            where=f"ServedModel {model.metadata.name}" if model else "",
            fix="bring the object store back (see the condition Recorded), then try again",
        )
    # Only after 16 rollbacks and takings back during an outage that holds up all else.
    log.error(
        "no room for an act in the history: %s of version %s by %s: %s", action, version.version, by, reason
    )
    return dict(changes)


def recorded(model: ServedModel | None) -> int:
    """Number of the last act that stands in the ledger, as far as the status tells."""
    return model.status.recorded if model and model.status else 0


def seat(model: ServedModel) -> Act | None:
    """The act that gave the present champion its seat; None when none tells of it."""
    return _seat_of(model, acts(model))


def unseated(model: ServedModel) -> bool:
    """Whether the present champion came to its seat without an act, though there is a history."""
    return bool(acts(model)) and seat(model) is None


def promoted_by(model: ServedModel, run_id: str) -> Act | None:
    """The promotion that this run has had, whoever serves by now."""
    mine = (act for act in reversed(acts(model)) if act.action == "promotion" and act.run_id == run_id)
    return next(mine, None) if run_id else None


def taken_back(model: ServedModel, version: ModelVersion) -> Act | None:
    """How the guard, or somebody, took this version back last; None when it has had the seat since.

    Whether it was given requests again since then is in the spec (`traffic`, `shadow`), not here.
    """
    for act in reversed(acts(model)):
        if _same(act, version) and act.action != "refusal":
            return act if act.action == "taken_back" else None
    return None


def version_of(act: Act) -> ModelVersion:
    """What the act is about."""
    return ModelVersion(version=act.version, bundle=act.bundle, digest=act.digest)


def former_champions(model: ServedModel) -> list[ModelVersion]:
    """Where a rollback goes first, then the other former champions, those that served last before others."""
    line = reversed(_line(acts(model)))
    seats = (version_of(act) for act in reversed(acts(model)) if act.action in SEATED)
    previous = [model.spec.previous] if model.spec.previous else []
    return _unlike([model.spec.champion], [*previous, *line, *seats])


def before(model: ServedModel, version: ModelVersion) -> ModelVersion | None:
    """Where a rollback goes once this version has the seat again: to what served before it was promoted; to
    the present champion, if it is one that was rolled back from."""
    told = acts(model)
    if not any(_names(one) == _names(version) for one in _line(told)):
        return model.spec.champion if model.spec.champion != version else None
    return _before(told, version)


def told_history(model: ServedModel, at: datetime) -> tuple[Act, ...]:
    """The acts, with those added that tell how the present champion came to its seat, if none does yet."""
    told = acts(model)
    if _seat_of(model, told) is not None:
        return told
    champion, last = model.spec.champion, _last_seat(told)
    found = "found serving, from before there was a history"
    missing: list[tuple[Action, ModelVersion, str | None, str]] = []
    if last is None:
        previous = model.spec.previous
        if previous is not None and previous != champion:
            missing.append(("promotion", previous, None, found))
        missing.append(("promotion", champion, previous.version if previous else None, found))
    else:
        back = any(_same(act, champion) for act in told if act.action in SEATED)
        reason = "spec.champion was changed without an act"
        missing.append(("rollback" if back else "promotion", champion, last.version, reason))
    for action, version, replaced, reason in missing:
        told += (
            Act(
                number=_next_number(model, told),
                action=action,
                version=version.version,
                bundle=version.bundle,
                digest=version.digest,
                replaced=replaced,
                at=at,
                by=BY_HAND,
                reason=reason,
            ),
        )
    return told


def telling(model: ServedModel, at: datetime) -> dict[str, Any] | None:
    """Changes of the spec that tell of a champion which nobody told of, and where a rollback from it goes;
    None when there is nothing to tell."""
    told = told_history(model, at)
    history = _kept(told, recorded(model))
    if told == acts(model) or len(history) > MOST:
        return None
    changes: dict[str, Any] = {"history": history}
    if _last_seat(acts(model)) is not None:
        changes["previous"] = _before(told, model.spec.champion)
    return changes


def _seat_of(model: ServedModel, told: Iterable[Act]) -> Act | None:
    last = _last_seat(told)
    return last if last is not None and _same(last, model.spec.champion) else None


def _last_seat(told: Iterable[Act]) -> Act | None:
    return next((act for act in reversed(tuple(told)) if act.action in SEATED), None)


def _same(act: Act, version: ModelVersion) -> bool:
    return _names(act) == _names(version)


def _names(one: Act | ModelVersion) -> tuple[str, str]:
    return one.version, one.digest


def _next_number(model: ServedModel | None, told: tuple[Act, ...]) -> int:
    # the status knows better than a history that somebody cut short
    return max(recorded(model), told[-1].number if told else 0) + 1


def _kept(told: tuple[Act, ...], recorded: int) -> tuple[Act, ...]:
    seats = {act.number for act in [act for act in told if act.action in SEATED][-KEPT:]}
    return tuple(
        act
        for place, act in enumerate(told)
        if act.number > recorded or act.number in seats or place >= len(told) - KEPT
    )


def _line(told: Iterable[Act]) -> list[ModelVersion]:
    """Champions that stand on each other: a promotion puts one on top, a rollback takes down to one."""
    line: list[ModelVersion] = []
    for act in told:
        version = version_of(act)
        if act.action == "promotion" and line[-1:] != [version]:
            line.append(version)
        elif act.action == "rollback":
            places = [place for place, one in enumerate(line) if _same(act, one)]
            line = line[: places[-1] + 1] if places else [*line, version]
    return line


def _before(told: Iterable[Act], version: ModelVersion) -> ModelVersion | None:
    line = _line(told)
    places = [place for place, one in enumerate(line) if _names(one) == _names(version)]
    return line[places[-1] - 1] if places and places[-1] > 0 else None


def _unlike(not_these: list[ModelVersion], versions: Iterable[ModelVersion]) -> list[ModelVersion]:
    """Each version once, without those given."""
    seen = {_names(one) for one in not_these}
    result = []
    for one in versions:
        if _names(one) not in seen:
            seen.add(_names(one))
            result.append(one)
    return result

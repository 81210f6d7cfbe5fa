"""ServedModels in short words."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rich.markup import escape

if TYPE_CHECKING:
    from windtunnel.spec.servedmodel import Act, Condition, ServedModel, ServedModelSpec

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def elapsed(seconds: float) -> str:
    """Such as `3 h 12 min`, or `12 s`: the largest unit and what is over in the next."""
    whole = max(0, int(seconds))
    place = next((place for place, (size, _) in enumerate(_UNITS) if whole >= size), len(_UNITS) - 1)
    parts: list[str] = []
    for size, unit in _UNITS[place : place + 2]:
        if whole >= size or not parts:
            parts.append(f"{whole // size} {unit}")
        whole %= size
    return " ".join(parts)


def ago(at: datetime, now: datetime | None = None) -> str:
    return f"{elapsed(((now or datetime.now(UTC)) - at).total_seconds())} ago"


def share(spec: ServedModelSpec) -> str:
    """What the challenger gets."""
    parts = [f"{spec.traffic} % of the requests"] if spec.traffic else []
    if spec.shadow:
        parts.append("copies of the others" if spec.traffic else "copies of all requests")
    return " and ".join(parts) or "no requests"


def condition(model: ServedModel, kind: str) -> Condition | None:
    found = model.status.conditions if model.status else ()
    return next((one for one in found if one.type == kind), None)


def guard_words(model: ServedModel) -> str:
    """What the guard says, ready for markup."""
    said = condition(model, "ChallengerHealthy")
    if said is None:
        return "says nothing yet"
    colour = {"True": "green", "False": "bold red"}.get(said.status, "yellow")
    message = f": {said.message}" if said.message else ""
    return f"[{colour}]{said.reason}[/]{escape(message)}"


def act_words(act: Act) -> str:
    """What was done to which version."""
    if act.action == "promotion":
        return f"{act.replaced} → {act.version}" if act.replaced else f"→ {act.version}"
    if act.action == "rollback":
        return f"{act.replaced} ↩ {act.version}" if act.replaced else f"↩ {act.version}"
    return act.version

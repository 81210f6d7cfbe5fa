"""Drift by column over the windows, out of the measures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from windtunnel.report.charts.matrix import LEVELS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from windtunnel.monitoring.measures import Measure

MOST_COLUMNS, MOST_WINDOWS = 50, 40
_STEPS = (0.05, 0.1, 0.2, 0.35)
"""Effects from which a cell is one level darker."""


@dataclass(frozen=True)
class ColumnHistory:
    """One column; the lists have an entry per window, None where it was not measured."""

    name: str
    kind: str
    now: dict[str, Any]
    """`ColumnDrift.to_json()` of the newest window that has it."""
    effects: tuple[float | None, ...]
    drifted: tuple[bool, ...]

    @property
    def drifts(self) -> bool:
        return bool(self.now.get("drifted"))

    @property
    def levels(self) -> list[int | None]:
        return [None if effect is None else level(effect) for effect in self.effects]


def level(effect: float) -> int:
    return min(LEVELS - 1, sum(effect >= step for step in _STEPS))


def compared(measures: Sequence[Measure]) -> list[Measure]:
    """The newest windows in which drift was measured."""
    return [measure for measure in measures if measure.drift is not None][-MOST_WINDOWS:]


def histories(measures: Sequence[Measure]) -> list[ColumnHistory]:
    """Of every column that the newest window has: what drifts, what did once, then what differs most."""
    windows = [{str(one["column"]): one for one in _columns(measure)} for measure in measures]
    if not windows:
        return []
    found = [
        ColumnHistory(
            name=name,
            kind=str(now.get("kind", "")),
            now=now,
            effects=tuple(_effect(window.get(name)) for window in windows),
            drifted=tuple(bool(window.get(name, {}).get("drifted")) for window in windows),
        )
        for name, now in windows[-1].items()
    ]
    return sorted(
        found, key=lambda one: (not one.drifts, not any(one.drifted), -(one.effects[-1] or 0.0), one.name)
    )


def _columns(measure: Measure) -> Iterator[dict[str, Any]]:
    drift = measure.drift
    if drift is None:
        return
    for name, one in (("prediction", drift.prediction), ("label", drift.label)):
        if one:
            yield {**one, "column": name}
    yield from drift.columns


def _effect(one: dict[str, Any] | None) -> float | None:
    effect = (one or {}).get("effect")
    return float(effect) if isinstance(effect, int | float) else None

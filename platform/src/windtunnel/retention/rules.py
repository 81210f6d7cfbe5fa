"""Which units are old enough to go. Pure."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import date, datetime

    from windtunnel.retention.contents import Kind, Unit
    from windtunnel.spec.retention import Retention

KEPT_RUNS: Final = 20
"""Newest runs whose records and logs stay however old they are: a model that is trained once a quarter is to
be explained, too."""


def old_enough(units: Sequence[Unit], retention: Retention, now: datetime) -> list[Unit]:
    """Units whose time is over, in the order of `units`; bundles and snapshots may still be needed."""
    latest = _latest(units)
    spared = {id(unit) for kind in ("records", "logs") for unit in _newest_runs(units, kind)}
    return [unit for unit in units if id(unit) not in spared and _is_over(unit, retention, now, latest)]


def _is_over(unit: Unit, retention: Retention, now: datetime, latest: date | None) -> bool:
    if unit.kind == "predictions":
        return _is_before(unit.day, now.date(), retention.prediction_days)
    if unit.kind in ("partitions", "features"):
        return _is_before(unit.day, latest, retention.feature_days)
    days = _days_after_writing(unit.kind, retention)
    return days is not None and now - unit.newest > timedelta(days=days)


def _days_after_writing(kind: Kind, retention: Retention) -> int | None:
    """None: for ever. Batch scores are filed under the days that they are about, which may be long past."""
    if kind in ("bundles", "snapshots"):
        return retention.unreferenced_days
    if kind == "scores":
        return retention.prediction_days
    return retention.record_days if kind in ("records", "logs", "cache", "reports") else None


def _is_before(day: date | None, newest: date | None, days: int | None) -> bool:
    """Whether a day is none of the last `days` (None: all are) up to `newest`."""
    if day is None or newest is None or days is None:
        return False
    return (newest - day).days >= days


def _latest(units: Iterable[Unit]) -> date | None:
    """The newest day that there is data of, by which their age is told: data may be of the past."""
    days = [unit.day for unit in units if unit.kind in ("partitions", "features") and unit.day]
    return max(days, default=None)


def _newest_runs(units: Iterable[Unit], kind: str) -> list[Unit]:
    runs = [unit for unit in units if unit.kind == kind and not unit.keys]
    return sorted(runs, key=lambda unit: unit.newest, reverse=True)[:KEPT_RUNS]

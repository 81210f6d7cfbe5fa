"""Which units are old enough to go. Pure."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from windtunnel.spec.log_keys import dag_folder
from windtunnel.spec.stages import RETAIN_DAG

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import date, datetime

    from windtunnel.retention.contents import Kind, Unit
    from windtunnel.spec.lifecycle import Lifecycle
    from windtunnel.spec.retention import Retention

KEPT_RUNS: Final = 20
"""Newest runs of a stage whose records stay, and of a DAG whose logs, however old they are: a model that is
trained once a quarter is to be explained, too."""
_OF_SWEEPS: Final = {"retain", dag_folder(RETAIN_DAG).partition("/")[2]}
"""The stage and the DAG whose runs explain nothing later."""
_JUST_WRITTEN: Final = timedelta(days=1)
"""A day of long ago that was filled just now is in use, whatever its age."""


def old_enough(units: Sequence[Unit], lifecycle: Lifecycle, now: datetime) -> list[Unit]:
    """Units whose time is over, in the order of `units`; bundles and snapshots may still be needed."""
    retention, latest = lifecycle.spec.retention, _latest(units, lifecycle, now)[0]
    spared = {id(unit) for kind in ("records", "logs") for unit in _newest_runs(units, kind)}
    return [unit for unit in units if id(unit) not in spared and _is_over(unit, retention, now, latest)]


def _is_over(unit: Unit, retention: Retention, now: datetime, latest: date | None) -> bool:
    if unit.kind == "predictions":
        return _is_before(unit.day, now.date(), retention.prediction_days)
    if unit.kind in ("partitions", "features"):
        settled = now - unit.newest > _JUST_WRITTEN
        return settled and _is_before(unit.day, latest, retention.feature_days)
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


def held_by(units: Sequence[Unit], lifecycle: Lifecycle, now: datetime) -> str:
    """Which source or view tells the age of partitions and feature rows, in words; empty when none goes."""
    if lifecycle.spec.retention.feature_days is None:
        return ""
    latest, group = _latest(units, lifecycle, now)
    return f"{group} has no day yet" if latest is None else f"{group} is the farthest behind, at {latest}"


def _latest(units: Iterable[Unit], lifecycle: Lifecycle, now: datetime) -> tuple[date | None, str]:
    """The newest day that there is data of, in all sources and views, by which the age of data is told, and
    the folder that is the farthest behind: data may all be of the past, and a training reaches back from
    where the last source stands. A day that is yet to come counts for nothing: somebody's clock was wrong.
    None while a source or a view has no day.
    """
    name, spec = lifecycle.name, lifecycle.spec
    wanted = [f"{name}/partitions/{source}" for source in spec.sources]
    wanted += [f"{name}/features/{view}" for view in spec.features.views]
    tomorrow = now.date() + timedelta(days=1)
    newest: dict[str, date] = {}
    for unit in units:
        if unit.kind in ("partitions", "features") and unit.day and unit.day <= tomorrow:
            newest[unit.group] = max(unit.day, newest.get(unit.group, unit.day))
    if absent := [group for group in wanted if group not in newest]:
        return None, absent[0]
    return min((newest[group], group) for group in wanted)


def _newest_runs(units: Iterable[Unit], kind: str) -> list[Unit]:
    """The newest of each stage or DAG: monitor comes each hour, and must not push train out."""
    groups: dict[str, list[Unit]] = {}
    for unit in units:
        if unit.kind == kind and not unit.keys:
            for told in unit.tells - _OF_SWEEPS:
                groups.setdefault(told, []).append(unit)
    return [
        unit
        for runs in groups.values()
        for unit in sorted(runs, key=lambda run: run.newest, reverse=True)[:KEPT_RUNS]
    ]

"""Which raw partitions are there, and which days a run takes."""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING

from windtunnel.errors import NotFoundError, RequestError

if TYPE_CHECKING:
    from windtunnel.objects import ObjectStore
    from windtunnel.spec import Lifecycle

Days = tuple[date, date]
"""First and last day, both included."""


def present_days(store: ObjectStore, uri: str) -> set[date]:
    """Days of a source (`sources/x/{date}.parquet`) that have a partition in the store."""
    before, _, after = uri.partition("{date}")
    days = set()
    for entry in store.list(before.rpartition("/")[0]):
        if entry.key.startswith(before) and entry.key.endswith(after):
            middle = entry.key[len(before) : len(entry.key) - len(after)]
            try:
                day = date.fromisoformat(middle)
            except ValueError:
                continue
            # It reads 20130101 and 2013-W01-2 too, which no stage would look for.
            if str(day) == middle:
                days.add(day)
    return days


def local_sources(lifecycle: Lifecycle) -> dict[str, str]:
    """Sources in the store itself, by name; those elsewhere (s3://…) are not ours to list."""
    return {name: source.uri for name, source in lifecycle.spec.sources.items() if "://" not in source.uri}


def missing_sources(store: ObjectStore, lifecycle: Lifecycle, days: Days | None) -> list[str]:
    """Sources without any partition, or, when days are given, without one of those."""
    missing = []
    for name, uri in local_sources(lifecycle).items():
        present = present_days(store, uri)
        if not present or (days and not set(each_day(days)) <= present):
            missing.append(name)
    return missing


def choose_days(store: ObjectStore, lifecycle: Lifecycle, start: date | None, end: date | None) -> Days:
    """The days that were asked for, or else those that all sources have.

    Raises NotFoundError when there is nothing to choose from, RequestError when start is after end.
    """
    if start is None or end is None:
        first, last = _common_days(store, lifecycle)
        start, end = start or first, end or last
    if start > end:
        raise RequestError(f"start {start} is after end {end}", fix="give --start and --end in order")
    return start, end


def each_day(days: Days) -> list[date]:
    first, last = days
    return [first + timedelta(days=offset) for offset in range((last - first).days + 1)]


def _common_days(store: ObjectStore, lifecycle: Lifecycle) -> Days:
    sources = local_sources(lifecycle)
    if not sources:
        raise RequestError(
            "all sources are elsewhere, so their days are unknown", fix="give --start and --end"
        )
    ranges = []
    for name, uri in sources.items():
        days = present_days(store, uri)
        if not days:
            raise NotFoundError(
                f"source {name!r} has no partitions",
                where=store.url,
                fix=f"put them at {uri}, or write a load_sources.py beside lifecycle.yaml that does",
            )
        ranges.append((min(days), max(days)))
    first, last = max(first for first, _ in ranges), min(last for _, last in ranges)
    if first > last:
        spans = zip(sources, ranges, strict=True)
        raise NotFoundError(
            "the sources have no day in common: "
            + ", ".join(f"{name} has {begin} to {end}" for name, (begin, end) in spans),
            where=store.url,
            fix="load the days that are missing",
        )
    return first, last

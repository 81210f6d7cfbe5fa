from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from windtunnel.features.freshness import ViewFreshness, measure, read_freshness, write_freshness
from windtunnel.features.online.online_marker import Marker, Materialized

if TYPE_CHECKING:
    from windtunnel.objects import ObjectStore

NEWEST = datetime(2026, 3, 2, 6, 0, 0, 250, tzinfo=UTC)
NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
FILLED = Materialized(
    NEWEST,
    {
        (date(2026, 2, 1), date(2026, 2, 28)): Marker("sha256:1", None, 10, 100, 1.0),
        (date(2026, 3, 1), date(2026, 3, 1)): Marker("sha256:2", NEWEST, 3, 30, 0.5),
    },
)
DAY = (date(2026, 3, 1), date(2026, 3, 1))


def freshness(objective: timedelta | None = None, before: ViewFreshness | None = None) -> ViewFreshness:
    return measure("customer", FILLED, DAY, objective, before, NOW)


def test_figures_are_those_of_the_runs_slices() -> None:
    found = freshness()
    assert (found.rows, found.bytes, found.seconds, found.end) == (3, 30, 0.5, "2026-03-01")
    whole = measure("customer", FILLED, (date(2026, 2, 28), date(2026, 3, 1)), None, None, NOW)
    assert (whole.rows, whole.bytes, whole.seconds) == (13, 130, 1.5)


def test_older_days_do_not_take_the_end_back() -> None:
    older = measure("customer", FILLED, (date(2026, 2, 1), date(2026, 2, 5)), None, freshness(), NOW)
    assert older.end == "2026-03-01"


@pytest.mark.parametrize(("late", "stale"), [(timedelta(0), False), (timedelta(microseconds=1), True)])
def test_a_view_is_stale_when_its_newest_event_is_older_than_its_objective(
    late: timedelta, stale: bool
) -> None:
    assert freshness(timedelta(hours=6)).is_stale(NEWEST + timedelta(hours=6) + late) is stale


def test_without_an_objective_nothing_is_stale() -> None:
    assert not freshness().is_stale(NOW + timedelta(days=9999))


def test_an_event_that_is_dated_ahead_has_no_age() -> None:
    assert freshness().age_seconds(NEWEST - timedelta(hours=3)) == 0


def test_what_is_written_is_read(store: ObjectStore) -> None:
    assert read_freshness(store, "demo") == {}
    written = freshness(timedelta(minutes=90))
    write_freshness(store, "demo", written)
    assert read_freshness(store, "demo") == {"customer": written}
    assert read_freshness(store, "other") == {}

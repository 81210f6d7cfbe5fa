"""The reference profile: what is watched beside the inputs, and when seasons may be told apart."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from windtunnel.monitoring.reference import watched_columns, with_days_enough
from windtunnel.monitoring.seasons import seasons_of

MONDAY = datetime(2026, 3, 2, tzinfo=UTC)


def hours(days: int) -> pl.Series:
    """Every hour of so many days."""
    return pl.Series([MONDAY + timedelta(hours=number) for number in range(24 * days)])


@pytest.mark.parametrize(
    ("seasons", "first", "count"), [("weekday", "1", 7), ("hour", "00", 24), ("weekday_hour", "1-00", 168)]
)
def test_seasons_are_those_of_the_calendar(seasons: str, first: str, count: int) -> None:
    found = seasons_of(hours(14), seasons)  # type: ignore[arg-type]
    assert found is not None
    assert (found[0], found.n_unique()) == (first, count)
    assert seasons_of(hours(1), "none") is None


@pytest.mark.parametrize(
    ("days", "seasons", "usable"),
    [
        (7, "weekday", False),
        (14, "weekday", False),
        (21, "weekday", True),
        (7, "hour", True),
        (2, "hour", False),
    ],
)
def test_seasons_of_a_few_days_are_not_told_apart(days: int, seasons: str, usable: bool) -> None:
    moments = hours(days)
    found = seasons_of(moments, seasons)  # type: ignore[arg-type]
    assert (with_days_enough(found, moments.dt.date()) is not None) == usable


def test_slices_and_keys_with_many_rows_each_are_watched_and_keys_of_customers_are_not() -> None:
    frame = pl.DataFrame(
        {
            "customer": [f"c{number}" for number in range(100)],
            "airport": ["JFK", "LGA"] * 50,
            "hour": [number % 4 for number in range(100)],
            "spend": [1.0] * 100,
            "region": [None, "north"] * 50,
        }
    )
    watched = watched_columns(frame, ["customer", "airport", "hour"], ["region", "spend"], ["spend"])
    assert watched.columns == ["region", "airport", "hour"]
    assert set(watched.dtypes) == {pl.String}

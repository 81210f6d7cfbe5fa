"""Figures and moments as people read them."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import pytest

from windtunnel.report import words

NIGHT = datetime(2023, 1, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.4521, "0.452"),
        (0.00021, "0.000210"),
        (12.345, "12.3"),
        (1234.5, "1,234"),
        (12000, "12,000"),
        (0.0, "0"),
        (2.4e-7, "2.4e-07"),
        (None, words.MISSING),
        (math.nan, words.MISSING),
        (math.inf, words.MISSING),
    ],
)
def test_numbers_have_three_digits_and_no_false_precision(value: float | None, shown: str) -> None:
    assert words.number(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.031, "+0.031"), (-0.031, "\N{MINUS SIGN}0.031"), (0.0, "±0"), (None, words.MISSING)],
)
def test_a_difference_says_which_side_it_is_on(value: float | None, shown: str) -> None:
    assert words.signed(value) == shown


@pytest.mark.parametrize(
    ("share", "shown"),
    [(0.0, "0 %"), (0.002, "< 1 %"), (0.237, "24 %"), (1.0, "100 %"), (None, words.MISSING)],
)
def test_a_share_that_is_not_nothing_is_never_told_as_nothing(share: float | None, shown: str) -> None:
    assert words.percent(share) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.42, "0.4 s"),
        (59.7, "1 min"),
        (3600, "1 h"),
        (11_531, "3 h 12 min"),
        (93_600, "1 d 2 h"),
        (None, words.MISSING),
    ],
)
def test_a_duration_has_two_units_at_most(seconds: float | None, shown: str) -> None:
    assert words.duration(seconds) == shown


@pytest.mark.parametrize(
    ("count", "shown"), [(0, "0 B"), (1536, "1.50 KiB"), (576_000_000, "549 MiB"), (None, words.MISSING)]
)
def test_bytes_have_a_unit(count: int | None, shown: str) -> None:
    assert words.size(count) == shown


@pytest.mark.parametrize(
    ("start", "length", "shown"),
    [
        (NIGHT, timedelta(days=1), "30 Jan 2023"),
        (NIGHT, timedelta(hours=6), "30 Jan 2023, 00:00 to 06:00"),
        (NIGHT + timedelta(hours=14), timedelta(days=1), "30 Jan 2023, 14:00 to 31 Jan 2023, 14:00"),
        (NIGHT, timedelta(days=7), "30 Jan to 6 Feb 2023"),
        (NIGHT - timedelta(days=90), timedelta(days=100), "1 Nov 2022 to 9 Feb 2023"),
    ],
)
def test_a_window_is_told_as_short_as_it_can_be(start: datetime, length: timedelta, shown: str) -> None:
    assert words.span(start, start + length) == shown


def test_what_is_no_moment_is_not_told_as_one() -> None:
    assert words.moment("yesterday") == words.moment(None) == words.MISSING
    assert words.moment("2023-01-30T04:05:06+00:00") == "30 Jan 2023, 04:05"


def test_a_long_name_keeps_its_end() -> None:
    assert words.clip("origin_late_14d_average_of_all_carriers_at_noon", 24) == "origin_late_…ers_at_noon"


def test_figures_beside_an_axis_have_the_same_decimals() -> None:
    assert words.alike([0.5, 1.0, 1.5]) == ["0.5", "1.0", "1.5"]
    assert words.alike([0.25, 0.5]) == ["0.25", "0.50"]
    assert words.alike([1000.0, 2000.0]) == ["1,000", "2,000"]
    assert words.alike([]) == []

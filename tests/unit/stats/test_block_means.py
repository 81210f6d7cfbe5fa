"""Means of rows that come in days: intervals that hold although rows of one day are alike."""

from __future__ import annotations

import math

import numpy as np
import pytest

from windtunnel.stats.block_means import BlockMean, block_mean, difference


def days_of(
    random: np.random.Generator, days: int, rows: int, between: float
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of standard deviation 1 about their day's mean, which has standard deviation `between`."""
    day = np.repeat(np.arange(days), rows)
    return random.normal(0, between, days)[day] + random.normal(0, 1, days * rows), day


def test_what_rows_and_days_add_is_told_apart() -> None:
    values, day = days_of(np.random.default_rng(1), 400, 50, 0.5)
    found = block_mean(values, day)
    assert (found.rows, found.blocks) == (20_000, 400)
    assert found.row_variance == pytest.approx(1.0, rel=0.03)
    assert found.block_variance == pytest.approx(0.25, rel=0.25)
    assert found.standard_error == pytest.approx(math.sqrt(0.25 / 400 + 1 / 20_000), rel=0.13)


def test_without_days_it_is_the_plain_standard_error() -> None:
    values = np.random.default_rng(2).normal(3, 2, 1000)
    found = block_mean(values, np.zeros(1000))
    assert found.block_variance == 0.0
    assert found.standard_error == pytest.approx(values.std(ddof=1) / math.sqrt(1000))


def test_a_single_row_and_rows_that_are_all_alike() -> None:
    assert block_mean(np.array([2.0]), np.array([0])).mean == 2.0
    found = block_mean(np.full(10, 0.5), np.arange(10) // 5)
    assert found.standard_error == 0.0
    assert difference(found, found, 0.01) == (0.0, (0.0, 0.0))


def test_a_day_for_every_row_is_as_unsure_as_rows_are() -> None:
    """Else its error would be none, and every window of such rows worse."""
    values = np.random.default_rng(5).normal(0, 1, 300)
    found = block_mean(values, np.arange(300))
    assert found.standard_error == pytest.approx(values.std(ddof=1) / math.sqrt(300))
    assert (found.blocks, found.block_variance) == (300, 0.0)


def test_one_day_against_a_week_errs_as_often_as_it_says() -> None:
    """A day of many rows looks sure of itself and is one draw of a day: rows as independent err often."""
    random = np.random.default_rng(3)
    missed, naive, runs = 0, 0, 300
    for _ in range(runs):
        reference = block_mean(*days_of(random, 7, 200, 0.3))
        current = block_mean(*days_of(random, 1, 200, 0.3))
        _, (low, high) = difference(current, reference, 0.025)
        missed += not low <= 0.0 <= high
        rows_only = 1.96 * math.sqrt(1 / 200 + 1 / 1400)
        naive += abs(current.mean - reference.mean) > rows_only
    assert missed / runs <= 0.07
    assert naive / runs > 0.4


def test_a_profile_is_read_back() -> None:
    found = block_mean(*days_of(np.random.default_rng(4), 5, 20, 0.2))
    assert BlockMean.from_json(found.to_json()) == BlockMean(
        found.mean, found.rows, round(found.blocks, 3), found.row_variance, found.block_variance
    )

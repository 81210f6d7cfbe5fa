"""The paired test's statistic against what is known exactly."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from windtunnel.stats.mean_test import mean_bounds, p_mean_below


@pytest.mark.parametrize(
    ("rows", "ones", "null"),
    [(500, 1, 0.01), (500, 2, 0.02), (6000, 30, 0.007), (100, 5, 0.04), (100, 50, 0.5), (10, 3, 0.3)],
)
def test_it_is_the_clopper_pearson_test_for_zeros_and_ones(rows: int, ones: int, null: float) -> None:
    values = np.zeros(rows)
    values[:ones] = 1.0
    assert p_mean_below(values, null, 1.0) == pytest.approx(stats.binom.cdf(ones, rows, null), rel=0.01)


def test_bounds_of_zeros_and_ones_are_clopper_pearson() -> None:
    values = np.zeros(500)
    values[:7] = 1.0
    low, high = mean_bounds(values, 0.0, 1.0, 0.05)
    assert low == pytest.approx(stats.beta.ppf(0.05, 7, 494), rel=0.01)
    assert high == pytest.approx(stats.beta.ppf(0.95, 8, 493), rel=0.01)


@pytest.mark.parametrize("shift", [-1.0, 0.0, 0.5, 2.0])
def test_it_is_the_probability_that_its_definition_states(shift: float) -> None:
    random = np.random.default_rng(0)
    values = random.normal(0.1, 1.0, 50)
    null = values.mean() + shift / np.sqrt(50)
    draws = random.exponential(size=(100_000, 51)) @ (np.append(values, 3.5) - null)
    assert p_mean_below(values, null, 3.5) == pytest.approx((draws > 0).mean(), abs=0.006)


def test_it_approaches_the_z_test_on_many_rows() -> None:
    values = np.random.default_rng(1).normal(0.0, 1.0, 100_000)
    low, high = mean_bounds(values, -5.0, 5.0, 0.05)
    half = 1.645 / np.sqrt(100_000)
    assert low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.1 * half)


@pytest.mark.parametrize("rows", [3, 50, 5000])
def test_bounds_are_where_the_p_value_is_alpha(rows: int) -> None:
    values = np.random.default_rng(rows).standard_t(2, rows)
    low, high = mean_bounds(values, -80.0, 80.0, 0.05)
    assert p_mean_below(values, high, 80.0) == pytest.approx(0.05, abs=1e-5)
    assert p_mean_below(-values, -low, 80.0) == pytest.approx(0.05, abs=1e-5)


def test_all_rows_equal_and_nothing_worse_possible_has_no_width() -> None:
    assert mean_bounds(np.zeros(100), 0.0, 0.0, 0.05) == (0.0, 0.0)
    assert p_mean_below(np.zeros(100), 0.01, 0.0) == 0.0
    assert p_mean_below(np.zeros(100), 0.0, 0.0) == 1.0


def test_p_is_smooth_where_the_mean_equals_the_null() -> None:
    values = np.random.default_rng(2).normal(0.0, 1.0, 100)
    steps = values.mean() + np.linspace(-0.02, 0.02, 401)
    p = np.array([p_mean_below(values, null, 4.0) for null in steps])
    assert np.all(np.diff(p) < 0.004)
    assert np.all(np.abs(np.diff(p, 2)) < 0.004)

"""P values: exact where they can be checked exactly, honest where rows come in blocks."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binomtest, chi2

from windtunnel.stats.significance import (
    benjamini_hochberg,
    p_beyond,
    p_difference,
    p_distance,
    p_share,
)


def test_benjamini_and_hochbergs_own_example() -> None:
    # Benjamini and Hochberg 1995, section 4: at 5 % the four smallest of fifteen are rejected.
    p = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240]
    p += [0.4262, 0.5719, 0.6528, 0.7590, 1.0]
    assert sum(value <= 0.05 for value in benjamini_hochberg(p)) == 4
    shuffled = [p[index] for index in (3, 0, 14, 2, 1)]
    assert benjamini_hochberg(shuffled) == pytest.approx([0.011875, 0.0005, 1.0, 0.0019 * 5 / 3, 0.001])


def test_a_distance_of_independent_cells_is_pearsons_test() -> None:
    # A chi-square with 9 degrees of freedom, scaled by 1/n + 1/N = 0.002.
    assert p_distance(0.04, 9 * 0.002, 2 * 9 * 0.002**2) == pytest.approx(chi2.sf(20.0, 9))
    # The same with a variance known from ten blocks only says less.
    assert p_distance(0.06, 9 * 0.002, 2 * 9 * 0.002**2, doubt=10) > 2 * chi2.sf(30.0, 9)


def test_rare_rows_are_counted_exactly() -> None:
    # Six of 500 against two of 2,000: conditional on eight, a binomial with a fifth.
    expected = 2 * binomtest(6, 8, 0.2, alternative="greater").pvalue
    assert p_share(6, 500, 2, 2000) == pytest.approx(expected)
    assert p_share(0, 500, 0, 2000) == 1.0
    assert p_share(500, 500, 2000, 2000) == 1.0


def test_frequent_rows_are_a_z_test() -> None:
    pooled = (300 + 1000) / 3000
    z = (0.3 - 0.5) / math.sqrt(pooled * (1 - pooled) * (1 / 1000 + 1 / 2000))
    assert p_share(300, 1000, 1000, 2000) == pytest.approx(p_difference(z, 1.0))


def test_a_share_that_days_multiply_needs_more_than_one_bad_day() -> None:
    # 2 % on average with a standard deviation of 2 % between days: 10 % on one day is no proof of anything.
    assert p_share(1000, 10_000, 2000, 100_000, between=0.02**2, doubt=50) > 0.01
    assert p_share(1000, 10_000, 2000, 100_000) < 1e-100


@pytest.mark.parametrize("rows", [100, 1_000])
def test_rows_beyond_the_reference_are_judged_without_knowing_the_distribution(rows: int) -> None:
    random = np.random.default_rng(1)
    alarms = 0
    for _ in range(2_000):
        reference, current = random.standard_cauchy(1_000), random.standard_cauchy(rows)
        beyond = np.count_nonzero((current < reference.min()) | (current > reference.max()))
        alarms += p_beyond(beyond, rows, 1_000) <= 0.01
    assert alarms <= 30  # 1 % of 2,000 and more than two standard deviations on top
    assert p_beyond(20, rows, 1_000) < 1e-5 or rows == 1_000

"""Distances between shares: what scipy says of the rows, without what chance adds."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.stats import ks_2samp, wasserstein_distance

from windtunnel.stats.cells import Rows, Window
from windtunnel.stats.distances import (
    jensen_shannon,
    kolmogorov_smirnov,
    population_stability_index,
    total_variation,
)
from windtunnel.stats.number_columns import NumberProfile, NumberWindow

P, Q = np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.3, 0.5])


def test_without_noise_they_are_the_textbooks() -> None:
    assert population_stability_index(P, Q, 0.0) == pytest.approx(2 * 0.3 * np.log(0.5 / 0.2))
    assert jensen_shannon(P, Q, 0.0) == pytest.approx(jensenshannon(P, Q, base=2) ** 2)
    assert kolmogorov_smirnov(P, Q) == pytest.approx(0.3)
    assert total_variation(P, Q, np.zeros(3)) == pytest.approx(0.3)


def test_what_chance_shows_is_taken_off() -> None:
    random = np.random.default_rng(2)
    share, rows = np.full(30, 1 / 30), 500
    drawn = [random.multinomial(rows, share) / rows for _ in range(400)]
    noise = 1 / rows + 1 / 100_000
    raw = np.mean([population_stability_index(share, found, 0.0) for found in drawn if found.min() > 0])
    assert raw > 0.05  # many rules of thumb would call this "no drift" only just
    assert np.mean([population_stability_index(share, found, noise) for found in drawn]) < 0.008
    assert np.mean([jensen_shannon(share, found, noise) for found in drawn]) < 0.002


@pytest.mark.parametrize("draw", ["normal", "lognormal", "standard_t"])
def test_from_cells_they_are_close_to_those_of_the_rows(draw: str) -> None:
    random = np.random.default_rng(3)
    sample = {
        "normal": lambda: random.normal(0, 1, 20_000),
        "lognormal": lambda: random.lognormal(0, 1, 20_000),
        "standard_t": lambda: random.standard_t(4, 20_000),
    }[draw]
    reference, current = sample(), sample() * 1.2 + 0.2
    profile = NumberProfile.of(pl.Series("x", reference), Rows.of(20_000, None, None))
    found = NumberWindow.of(profile, pl.Series("x", current), Window.of(20_000, None, None))
    exact = wasserstein_distance(reference, current) / reference.std()
    assert found.wasserstein() == pytest.approx(exact, rel=0.1)
    gap = kolmogorov_smirnov(found.expected.shares, found.current)
    exact_gap = ks_2samp(reference, current).statistic
    assert exact_gap - 0.04 <= gap <= exact_gap + 1e-9


def test_a_single_outlier_moves_wasserstein_by_what_it_weighs() -> None:
    reference = np.random.default_rng(4).normal(0, 1, 10_000)
    profile = NumberProfile.of(pl.Series("x", reference), Rows.of(10_000, None, None))
    current = np.append(reference[:-1], 1e6)
    found = NumberWindow.of(profile, pl.Series("x", current), Window.of(10_000, None, None))
    assert found.wasserstein() == pytest.approx(wasserstein_distance(reference, current), rel=0.05)

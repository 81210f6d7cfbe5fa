"""Quality before labels: right while calibration holds, whatever the mix of rows; blind to what labels do."""

from __future__ import annotations

import numpy as np
import pytest

from windtunnel.stats.cbpe import Calibration, estimate_loss, expected_losses, fit_calibration
from windtunnel.stats.losses import Metric, row_losses


def world(
    random: np.random.Generator, rows: int, centre: float = -1.0, overconfident: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Labels, and the predictions of a model whose log-odds are so many times too far out."""
    odds = random.normal(centre, 1.2, rows)
    label = (random.random(rows) < 1 / (1 + np.exp(-odds))).astype(float)
    return label, 1 / (1 + np.exp(-overconfident * odds))


def days(rows: int) -> np.ndarray:
    return np.arange(rows) % 7


def test_the_curve_mends_a_model_that_is_too_sure() -> None:
    label, prediction = world(np.random.default_rng(1), 20_000, overconfident=2.0)
    curve = fit_calibration("log_loss", label, prediction, days(20_000))
    assert curve.slope == pytest.approx(0.5, abs=0.03)
    assert curve.residual.mean == pytest.approx(0.0, abs=0.01)
    assert curve.probabilities(prediction).mean() == pytest.approx(label.mean(), abs=1e-3)


@pytest.mark.parametrize("metric", ["log_loss", "brier"])
@pytest.mark.parametrize("centre", [-3.0, -1.0, 0.5, 2.0])
def test_the_loss_of_another_mix_of_rows_is_foreseen_within_two_points(metric: Metric, centre: float) -> None:
    random = np.random.default_rng(2)
    curve = fit_calibration(metric, *world(random, 5000, overconfident=1.5), days(5000))
    label, prediction = world(random, 20_000, centre, overconfident=1.5)
    found = estimate_loss(metric, prediction, days(20_000), curve, 0.025)
    truth = float(row_losses(metric, label, prediction).mean())
    assert found.value == pytest.approx(truth, abs=0.02)
    assert found.interval[0] < truth < found.interval[1]


def test_the_interval_holds_as_often_as_it_says_also_when_days_differ() -> None:
    random = np.random.default_rng(3)

    def week(number_of_days: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        day = np.repeat(np.arange(number_of_days), 200)
        odds = random.normal(-1, 1, len(day))
        mood = random.normal(0, 0.3, number_of_days)[day]
        label = (random.random(len(day)) < 1 / (1 + np.exp(-(odds + mood)))).astype(float)
        return label, 1 / (1 + np.exp(-odds)), day

    missed = 0
    for _ in range(60):
        curve = fit_calibration("log_loss", *week(14))
        label, prediction, day = week(1)
        found = estimate_loss("log_loss", prediction, day, curve, 0.025)
        truth = row_losses("log_loss", label, prediction).mean()
        missed += not found.interval[0] <= truth <= found.interval[1]
    assert missed <= 6


def test_labels_that_follow_other_rules_are_not_seen() -> None:
    random = np.random.default_rng(4)
    curve = fit_calibration("log_loss", *world(random, 5000), days(5000))
    label, prediction = world(random, 5000)
    found = estimate_loss("log_loss", prediction, days(5000), curve, 0.025)
    assert row_losses("log_loss", 1 - label, prediction).mean() > found.interval[1] + 0.3


def test_the_expected_loss_is_the_mean_over_labels() -> None:
    prediction, calibrated = np.array([0.2, 0.9]), np.array([0.5, 1.0])
    found = expected_losses("brier", prediction, calibrated)
    np.testing.assert_allclose(found, [(0.64 + 0.04) / 2, 0.01])


@pytest.mark.parametrize("constant", [0.0, 0.05, 0.9, 1.0])
def test_a_model_that_always_says_the_same_is_put_right_by_the_share_of_labels(constant: float) -> None:
    label = (np.arange(1000) % 4 == 0).astype(float)
    curve = fit_calibration("log_loss", label, np.full(1000, constant), days(1000))
    assert curve.slope == 1.0
    assert curve.probabilities(np.full(1, constant)) == pytest.approx([0.25], abs=0.01)
    assert np.isfinite(estimate_loss("log_loss", np.full(5, constant), days(5), curve, 0.025).interval).all()


def test_a_curve_is_read_back() -> None:
    curve = fit_calibration("brier", *world(np.random.default_rng(5), 200), days(200))
    again = Calibration.from_json(curve.to_json())
    assert (again.intercept, again.slope, again.covariance) == (
        curve.intercept,
        curve.slope,
        curve.covariance,
    )

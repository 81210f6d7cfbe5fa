"""Metrics, calibration, baselines and profiles against scikit-learn and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, r2_score, roc_auc_score

from windtunnel.stats.calibration import (
    calibration_slope,
    expected_calibration_error,
    p_calibration_worse,
    reliability,
)
from windtunnel.stats.holm import holm_adjusted
from windtunnel.stats.logistic import LinearBaseline, fit_linear, fit_logistic
from windtunnel.stats.metrics import area_under_curve, average_precision, quality


@pytest.mark.parametrize("ties", [False, True])
def test_binary_metrics_are_scikit_learns(ties: bool) -> None:
    random = np.random.default_rng(0)
    prediction = random.beta(2, 5, 3000)
    if ties:
        prediction = np.round(prediction, 1)
    label = (random.random(3000) < prediction).astype(float)
    found = quality("binary", label, prediction)
    assert found["auc"] == pytest.approx(roc_auc_score(label, prediction))
    assert found["average_precision"] == pytest.approx(average_precision_score(label, prediction))
    assert found["brier"] == pytest.approx(brier_score_loss(label, prediction))
    if not ties:
        assert found["log_loss"] == pytest.approx(log_loss(label, prediction))


def test_regression_metrics_are_scikit_learns() -> None:
    random = np.random.default_rng(1)
    label = random.normal(3, 2, 500)
    prediction = label + random.normal(0, 1, 500)
    assert quality("regression", label, prediction)["r2"] == pytest.approx(r2_score(label, prediction))


def test_one_class_has_no_ranking() -> None:
    assert math.isnan(area_under_curve(np.zeros(5), np.linspace(0, 1, 5)))
    assert math.isnan(average_precision(np.zeros(5), np.linspace(0, 1, 5)))


def test_a_calibrated_prediction_has_slope_one_and_little_error() -> None:
    random = np.random.default_rng(2)
    prediction = random.beta(2, 5, 50_000)
    label = (random.random(50_000) < prediction).astype(float)
    assert calibration_slope(label, prediction) == pytest.approx(1.0, abs=0.05)
    assert expected_calibration_error(label, prediction) < 0.01
    assert sum(b.rows for b in reliability(label, prediction)) == 50_000


def test_overconfidence_shows_as_a_slope_below_one() -> None:
    random = np.random.default_rng(3)
    truth = random.beta(2, 5, 20_000)
    label = (random.random(20_000) < truth).astype(float)
    odds = np.log(truth / (1 - truth)) * 2
    assert calibration_slope(label, 1 / (1 + np.exp(-odds))) == pytest.approx(0.5, abs=0.05)


def test_a_constant_prediction_has_one_bin_and_no_slope() -> None:
    label = np.array([0.0, 1.0, 0.0, 0.0])
    assert len(reliability(label, np.full(4, 0.25))) == 1
    assert math.isnan(calibration_slope(label, np.full(4, 0.25)))


def test_calibration_of_a_copy_or_of_equals_is_not_worse() -> None:
    random = np.random.default_rng(4)
    truth = random.beta(2, 5, 5000)
    label = (random.random(5000) < truth).astype(float)
    assert p_calibration_worse(label, truth, truth, 0.03) == 1.0
    assert p_calibration_worse(label, np.clip(truth + 0.01, 0, 1), truth, 0.03) > 0.05
    assert p_calibration_worse(label, np.clip(truth + 0.1, 0, 1), truth, 0.03) < 1e-6


def test_holm_is_the_textbooks_example() -> None:
    assert holm_adjusted([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm_adjusted([]) == []


def test_logistic_and_linear_fits_are_scikit_learns() -> None:
    random = np.random.default_rng(5)
    inputs = random.normal(0, 1, (2000, 3))
    label = (random.random(2000) < 1 / (1 + np.exp(-inputs @ [1.0, -2.0, 0.0] + 1))).astype(float)
    ours = fit_logistic(inputs, label, penalty=1.0)
    theirs = LogisticRegression(C=1.0, tol=1e-10, max_iter=1000).fit(inputs, label)
    assert ours.coefficients[1:] == pytest.approx(theirs.coef_[0], abs=1e-4)
    assert ours.predict(inputs) == pytest.approx(theirs.predict_proba(inputs)[:, 1], abs=1e-4)
    target = inputs @ [1.0, 2.0, 3.0] + 4
    assert fit_linear(inputs, target).predict(inputs) == pytest.approx(
        Ridge().fit(inputs, target).predict(inputs)
    )


def test_separable_labels_do_not_break_the_logistic_fit() -> None:
    inputs = np.linspace(-1, 1, 100)[:, None]
    fitted = fit_logistic(inputs, (inputs[:, 0] > 0).astype(float), penalty=1e-6)
    assert np.all(np.isfinite(fitted.coefficients))


def test_the_baseline_takes_missing_values_constants_and_empty_columns() -> None:
    random = np.random.default_rng(6)
    inputs = random.normal(50, 10, (1000, 4))
    label = (random.random(1000) < np.where(inputs[:, 0] > 50, 0.8, 0.2)).astype(float)
    inputs[random.random(1000) < 0.3, 1] = np.nan
    inputs[:, 2] = 7.0
    inputs[:, 3] = np.nan
    prediction = LinearBaseline.fit("binary", inputs, label).predict(inputs)
    assert area_under_curve(label, prediction) > 0.75
    assert np.all((prediction > 0) & (prediction < 1))

"""Quality before any label has come: what the loss must be if the model's calibration still holds.

Confidence-based performance estimation: a calibrated probability c says how often a prediction turns out
wrong, so the mean expected loss over the current predictions is the loss that their labels will show, however
the mix of rows has changed. It is blind to what labels do given the features (concept drift), and says so by
being wrong then; the detector of windtunnel.stats.detectors watches that.

The model's probabilities are mapped to calibrated ones by a logistic curve that was fitted on the evaluation
rows (Platt 1999), c = 1 / (1 + exp(-(a + b log(p / (1 - p))))); the covariance of (a, b) counts days as
blocks (sandwich estimator, Liang and Zeger 1986), and the interval is that of the loss itself: it holds the
curve's error, the labels' own noise and what one day differs from another.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.stats.block_means import BlockMean, block_mean, quantile
from windtunnel.stats.logistic import fit_logistic
from windtunnel.stats.losses import CLIP, row_losses

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from windtunnel.stats.losses import Metric

_STEP = 1e-4
_LEAST_SPREAD = 1e-3
"""Of the log-odds: predictions that spread less have no slope."""
_FEW_BLOCKS = 2
_RANGE = (0.2, 5.0)
"""Slopes beyond are taken for an accident of few rows."""


@dataclass(frozen=True)
class Calibration:
    """The curve from predicted to calibrated probabilities, and how sure it is."""

    intercept: float
    slope: float
    covariance: tuple[tuple[float, float], tuple[float, float]]
    """Of intercept and slope."""
    residual: BlockMean
    """Of the evaluation: loss less expected loss, row by row."""

    def probabilities(self, prediction: NDArray[np.float64]) -> NDArray[np.float64]:
        """Calibrated ones, [N]."""
        return _curve(_log_odds(prediction), self.intercept, self.slope)

    def to_json(self) -> dict[str, Any]:
        return {
            "intercept": self.intercept,
            "slope": self.slope,
            "covariance": [list(row) for row in self.covariance],
            "residual": self.residual.to_json(),
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Calibration:
        (a, b), (c, d) = found["covariance"]
        residual = BlockMean.from_json(found["residual"])
        return cls(found["intercept"], found["slope"], ((a, b), (c, d)), residual)


@dataclass(frozen=True)
class LossEstimate:
    """The loss to come; each end of the interval is wrong with probability `tail` while calibration holds."""

    value: float
    interval: tuple[float, float]


def fit_calibration(
    metric: Metric, label: NDArray[np.float64], prediction: NDArray[np.float64], blocks: NDArray[Any]
) -> Calibration:
    """From evaluation rows: labels 0 or 1, probabilities and blocks (days), all [N]."""
    odds = _log_odds(prediction)
    intercept, slope = _fit(odds, label)
    calibrated = _curve(odds, intercept, slope)
    covariance = _covariance(odds, label - calibrated, calibrated, blocks)
    residual = row_losses(metric, label, prediction) - expected_losses(metric, prediction, calibrated)
    return Calibration(intercept, slope, covariance, block_mean(residual, blocks))


def _fit(odds: NDArray[np.float64], label: NDArray[np.float64]) -> tuple[float, float]:
    """Intercept and slope; of predictions that hardly differ, or labels that do not, the intercept alone."""
    if float(odds.std()) > _LEAST_SPREAD and 0.0 < label.mean() < 1.0:
        fitted = fit_logistic(odds[:, None], label, penalty=1e-6).coefficients
        if _RANGE[0] <= float(fitted[1]) <= _RANGE[1]:
            return float(fitted[0]), float(fitted[1])
    share = (float(label.sum()) + 0.5) / (len(label) + 1.0)
    return math.log(share / (1.0 - share)) - float(odds.mean()), 1.0


def expected_losses(
    metric: Metric, prediction: NDArray[np.float64], calibrated: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Loss of each row, [N], over the labels that it may turn out to have."""
    ones = row_losses(metric, np.ones_like(prediction), prediction)
    zeros = row_losses(metric, np.zeros_like(prediction), prediction)
    return calibrated * ones + (1.0 - calibrated) * zeros


def estimate_loss(
    metric: Metric,
    prediction: NDArray[np.float64],
    blocks: NDArray[Any],
    calibration: Calibration,
    tail: float,
) -> LossEstimate:
    """Of current predictions [N] (N >= 1) in blocks [N]."""
    odds = _log_odds(prediction)

    def loss(intercept: float, slope: float) -> float:
        return float(expected_losses(metric, prediction, _curve(odds, intercept, slope)).mean())

    a, b = calibration.intercept, calibration.slope
    value = loss(a, b)
    gradient = np.array([loss(a + _STEP, b) - value, loss(a, b + _STEP) - value]) / _STEP
    of_curve = float(gradient @ np.array(calibration.covariance) @ gradient)
    residual = calibration.residual
    current = block_mean(prediction, blocks)
    # the noise of labels yet to come, and what a day differs from another given the curve
    of_rows = _noise(metric, prediction, calibration.probabilities(prediction)) / len(prediction)
    of_blocks = residual.block_variance / current.blocks
    reach = quantile(tail, of_rows + of_curve, of_blocks, residual.blocks)
    half = reach * math.sqrt(of_rows + of_curve + of_blocks)
    return LossEstimate(value, (value - half, value + half))


def _noise(metric: Metric, prediction: NDArray[np.float64], calibrated: NDArray[np.float64]) -> float:
    """Mean variance of a row's loss given its prediction."""
    ones = row_losses(metric, np.ones_like(prediction), prediction)
    zeros = row_losses(metric, np.zeros_like(prediction), prediction)
    return float((calibrated * (1.0 - calibrated) * np.square(ones - zeros)).mean())


def _covariance(
    odds: NDArray[np.float64],
    residual: NDArray[np.float64],
    calibrated: NDArray[np.float64],
    blocks: NDArray[Any],
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Sandwich: the inverse of the information around the scores, added up by block."""
    design = np.column_stack([np.ones_like(odds), odds])
    weight = np.maximum(calibrated * (1.0 - calibrated), CLIP)
    information = design.T @ (design * weight[:, None]) + 1e-9 * np.eye(2)
    scores = design * residual[:, None]
    _, of = np.unique(blocks, return_inverse=True)
    groups = int(of.max()) + 1
    if groups > _FEW_BLOCKS:
        summed = np.column_stack([np.bincount(of, scores[:, at]) for at in (0, 1)])
        middle = summed.T @ summed * groups / (groups - 1)
    else:  # too few blocks to tell: rows count as independent
        middle = scores.T @ scores
    inverse = np.linalg.inv(information)
    found = inverse @ middle @ inverse
    return (float(found[0, 0]), float(found[0, 1])), (float(found[1, 0]), float(found[1, 1]))


def _log_odds(prediction: NDArray[np.float64]) -> NDArray[np.float64]:
    clipped = np.clip(prediction, CLIP, 1.0 - CLIP)
    odds: NDArray[np.float64] = np.log(clipped / (1.0 - clipped))
    return odds


def _curve(odds: NDArray[np.float64], intercept: float, slope: float) -> NDArray[np.float64]:
    values: NDArray[np.float64] = 1.0 / (1.0 + np.exp(-(intercept + slope * odds)))
    return values

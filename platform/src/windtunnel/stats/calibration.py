"""Whether predicted probabilities mean what they say: reliability bins, error, slope, and a paired test."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from windtunnel.stats.logistic import fit_logistic
from windtunnel.stats.losses import CLIP

if TYPE_CHECKING:
    from numpy.typing import NDArray

BINS = 10


@dataclass(frozen=True)
class ReliabilityBin:
    """Rows with similar predictions: how many, what was predicted on average, what happened on average."""

    rows: int
    predicted: float
    observed: float


def _bins_of(prediction: NDArray[np.float64]) -> NDArray[np.intp]:
    """Bin of each row, by deciles of the prediction; rows with equal predictions share a bin."""
    edges = np.quantile(prediction, np.linspace(0.0, 1.0, BINS + 1)[1:-1])
    return np.searchsorted(np.unique(edges), prediction, side="right")


def reliability(label: NDArray[np.float64], prediction: NDArray[np.float64]) -> list[ReliabilityBin]:
    """Up to ten bins of equal size, lowest predictions first."""
    bins = _bins_of(prediction)
    return [
        ReliabilityBin(int(chosen.sum()), float(prediction[chosen].mean()), float(label[chosen].mean()))
        for chosen in (bins == number for number in np.unique(bins))
    ]


def expected_calibration_error(label: NDArray[np.float64], prediction: NDArray[np.float64]) -> float:
    """Mean gap between predicted and observed share over the reliability bins, weighted by rows."""
    bins = reliability(label, prediction)
    return sum(b.rows * abs(b.predicted - b.observed) for b in bins) / len(label)


def calibration_slope(label: NDArray[np.float64], prediction: NDArray[np.float64]) -> float:
    """Slope of the label on the prediction's log-odds: 1 is right, below 1 is overconfident.

    NaN when the prediction is one constant, which has no slope.
    """
    if np.ptp(prediction) < CLIP:
        return math.nan
    clipped = np.clip(prediction, CLIP, 1.0 - CLIP)
    log_odds = np.log(clipped / (1.0 - clipped))
    return float(fit_logistic(log_odds[:, None], label, penalty=1e-6).coefficients[1])


def p_calibration_worse(
    label: NDArray[np.float64],
    challenger: NDArray[np.float64],
    champion: NDArray[np.float64],
    tolerance: float,
) -> float:
    """P value of "the challenger's calibration is no worse than the champion's"; small means it is worse.

    Compares squared calibration errors on the same rows. `tolerance` is a root mean square gap (0.03 = three
    points of probability) that the challenger may have beyond the champion: without such a floor, thousands
    of rows would make trifles significant.
    """
    if np.array_equal(challenger, champion):
        return 1.0
    difference = _squared_error_terms(label, challenger) - _squared_error_terms(label, champion)
    excess = float(difference.mean()) - tolerance**2
    spread = float(difference.std(ddof=1)) / math.sqrt(len(difference)) if len(difference) > 1 else 0.0
    if spread == 0.0:
        return 0.0 if excess > 0.0 else 1.0
    return NormalDist().cdf(-excess / spread)


def _squared_error_terms(label: NDArray[np.float64], prediction: NDArray[np.float64]) -> NDArray[np.float64]:
    """Terms whose mean is the squared calibration error over the bins, and whose spread is its standard
    error.

    The square of a bin's mean residual m is 2 m m - m^2; to first order a row's share in it is m (2 r - m).
    Subtracting r^2 / n of the bin takes out what chance alone adds.
    """
    bins = _bins_of(prediction)
    residual = label - prediction
    rows = np.bincount(bins)
    mean = (np.bincount(bins, residual) / np.maximum(rows, 1))[bins]
    terms: NDArray[np.float64] = mean * (2.0 * residual - mean) - np.square(residual) / rows[bins]
    return terms

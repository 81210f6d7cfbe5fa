"""Quality of predictions in numbers; definitions as in scikit-learn (compared with it in the tests)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import numpy as np

from windtunnel.stats.calibration import calibration_slope, expected_calibration_error
from windtunnel.stats.losses import row_losses

if TYPE_CHECKING:
    from numpy.typing import NDArray


def area_under_curve(label: NDArray[np.float64], prediction: NDArray[np.float64]) -> float:
    """Chance that a random positive row is ranked above a random negative one (ties count half); NaN if one
    class.
    """
    positives = int(label.sum())
    negatives = len(label) - positives
    if positives == 0 or negatives == 0:
        return math.nan
    _, inverse, counts = np.unique(prediction, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2.0)[inverse]
    return float((ranks[label > 0].sum() - positives * (positives + 1) / 2.0) / (positives * negatives))


def average_precision(label: NDArray[np.float64], prediction: NDArray[np.float64]) -> float:
    """Precision averaged over the recall steps, highest predictions first; NaN without positive rows."""
    positives = float(label.sum())
    if positives == 0.0:
        return math.nan
    order = np.argsort(-prediction, kind="stable")
    sorted_prediction = prediction[order]
    last_of_tie = np.append(np.flatnonzero(np.diff(sorted_prediction)), len(label) - 1)
    hits = np.cumsum(label[order])[last_of_tie]
    precision = hits / (last_of_tie + 1.0)
    return float(np.sum(np.diff(np.append(0.0, hits / positives)) * precision))


def quality(
    kind: Literal["binary", "regression"], label: NDArray[np.float64], prediction: NDArray[np.float64]
) -> dict[str, float]:
    """All metrics that fit the kind of label, by name; shapes [N]."""
    if kind == "binary":
        return {
            "average_precision": average_precision(label, prediction),
            "auc": area_under_curve(label, prediction),
            "log_loss": float(row_losses("log_loss", label, prediction).mean()),
            "brier": float(row_losses("brier", label, prediction).mean()),
            "calibration_error": expected_calibration_error(label, prediction),
            "calibration_slope": calibration_slope(label, prediction),
            "mean_prediction": float(prediction.mean()),
            "mean_label": float(label.mean()),
        }
    squared = float(row_losses("squared_error", label, prediction).mean())
    variance = float(label.var())
    return {
        "squared_error": squared,
        "root_mean_squared_error": math.sqrt(squared),
        "mean_absolute_error": float(np.abs(label - prediction).mean()),
        "r2": 1.0 - squared / variance if variance > 0.0 else math.nan,
        "mean_prediction": float(prediction.mean()),
        "mean_label": float(label.mean()),
    }

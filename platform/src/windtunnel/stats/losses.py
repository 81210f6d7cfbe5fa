"""What one prediction costs: the per-row losses that the gate compares."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Metric = Literal["log_loss", "brier", "squared_error"]

CLIP = 1e-6
"""Probabilities are clipped to [CLIP, 1 - CLIP] before a logarithm, so one row costs at most 13.8 nats."""


def row_losses(
    metric: Metric, label: NDArray[np.float64], prediction: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Loss of each row, shape [N]; lower is better."""
    if metric == "log_loss":
        clipped = np.clip(prediction, CLIP, 1.0 - CLIP)
        return -(label * np.log(clipped) + (1.0 - label) * np.log1p(-clipped))
    return np.square(label - prediction)


def plausible_differences(
    metric: Metric,
    label: NDArray[np.float64],
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    chance: float,
) -> tuple[float, float]:
    """The lowest and highest loss difference (first - second) that such rows could show, seen here or not.

    It bounds how bad the rows that we did not see could be, which the gate needs to stay honest where few
    rows differ. Probabilities: every row could have had either label, with the odds that the two models give
    it on average; of these values, the ones that so many rows show with probability `chance` at most. Values:
    labels as far from the second model's predictions as the farthest seen, on either side.
    """
    if metric == "squared_error":
        farthest = float(np.abs(label - second).max())
        ends = [row_losses(metric, second + far, first) - farthest**2 for far in (-farthest, farthest)]
        return float(np.min(ends)), float(np.max(ends))
    differences = np.concatenate(
        [
            row_losses(metric, np.full_like(first, outcome), first)
            - row_losses(metric, np.full_like(first, outcome), second)
            for outcome in (1.0, 0.0)
        ]
    )
    average = np.clip((first + second) / 2.0, 0.0, 1.0)
    odds = np.concatenate([average, 1.0 - average])
    order = np.argsort(differences)
    expected = np.cumsum(odds[order])
    last = len(order) - 1
    lowest = int(np.searchsorted(expected, chance))
    highest = int(np.searchsorted(expected, expected[-1] - chance))
    return float(differences[order[min(lowest, last)]]), float(differences[order[min(highest, last)]])

"""How far two distributions over the same cells lie apart, without what chance alone would show.

Arguments named `reference` and `current` are shares [B] that sum to 1; `noise` is 1/n + 1/N, the sum of the
inverse (effective) row counts of the two samples.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def population_stability_index(
    reference: NDArray[np.float64], current: NDArray[np.float64], noise: float
) -> float:
    """PSI in nats, less (B - 1) * noise, its expectation between two samples of one distribution; at least 0.

    Shares are taken half a row above 0, so that an empty cell does not make it infinite.
    """
    half = noise / 2.0
    seen = reference + current > 0.0
    p, q = ((shares[seen] + half) / (1.0 + half * seen.sum()) for shares in (reference, current))
    value = float(np.sum((q - p) * np.log(q / p)))
    return max(0.0, value - (_occupied(reference, current) - 1) * noise)


def jensen_shannon(reference: NDArray[np.float64], current: NDArray[np.float64], noise: float) -> float:
    """Jensen-Shannon divergence in bits, 0 to 1, less its expectation by chance; not below 0."""
    middle = (reference + current) / 2.0
    value = (_entropy_terms(reference, middle) + _entropy_terms(current, middle)) / 2.0
    return max(0.0, value - (_occupied(reference, current) - 1) * noise / (8.0 * math.log(2.0)))


def total_variation(
    reference: NDArray[np.float64], current: NDArray[np.float64], variance: NDArray[np.float64]
) -> float:
    """The share of rows that would have to move to make the two equal, 0 to 1.

    variance: [B] of the difference by chance; each cell's difference counts for what exceeds its expectation.
    """
    beyond = np.abs(current - reference) - np.sqrt(2.0 / math.pi * variance)
    return float(np.clip(np.maximum(beyond, 0.0).sum() / 2.0, 0.0, 1.0))


def kolmogorov_smirnov(reference: NDArray[np.float64], current: NDArray[np.float64]) -> float:
    """Largest gap of the cumulative shares at the cells' edges; the gap between edges may be larger by up to
    the share of one cell.
    """
    return float(np.abs(np.cumsum(current - reference)).max()) if len(reference) else 0.0


def wasserstein(
    edges: NDArray[np.float64],
    reference: NDArray[np.float64],
    current: NDArray[np.float64],
    reference_tails: tuple[float, float],
    current_tails: tuple[float, float],
) -> float:
    """Earth mover's distance in the column's unit, from cells [B], their inner edges [B - 1] and the means of
    the first and the last cell.

    Between edges the cumulative gap counts as linear. Outside them only the means are known: the integral of
    a tail is exactly its share times its mean's distance from the edge; a difference of two is a lower bound.
    """
    if len(edges) == 0:
        return abs(current_tails[0] - reference_tails[0])
    gap = np.cumsum(current - reference)[:-1]
    width = np.diff(edges)
    first, last = np.abs(gap[:-1]), np.abs(gap[1:])
    crosses = gap[:-1] * gap[1:] < 0.0
    both = np.where(first + last > 0.0, first + last, 1.0)
    inner = np.where(crosses, (first * first + last * last) / both, first + last) / 2.0 * width
    low = current[0] * (edges[0] - current_tails[0]) - reference[0] * (edges[0] - reference_tails[0])
    high = current[-1] * (current_tails[1] - edges[-1]) - reference[-1] * (reference_tails[1] - edges[-1])
    return float(inner.sum() + abs(low) + abs(high))


def _occupied(reference: NDArray[np.float64], current: NDArray[np.float64]) -> int:
    return max(1, int(np.count_nonzero(reference + current)))


def _entropy_terms(shares: NDArray[np.float64], middle: NDArray[np.float64]) -> float:
    seen = shares > 0.0
    return float(np.sum(shares[seen] * np.log2(shares[seen] / middle[seen])))

"""What can have changed about a column, each with its own p value, size and sentence.

A test of the whole distribution spreads its power over all directions. The common changes (a shift, a wider
spread, a tail, missing values) are therefore asked for by name as well, and paid for by Bonferroni within
the column.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from windtunnel.stats.between_blocks import mean_of_blocks, variance_of
from windtunnel.stats.distances import total_variation
from windtunnel.stats.significance import p_difference, p_distance, p_share

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from windtunnel.stats.between_blocks import Between
    from windtunnel.stats.cells import Expected, Shares, Window

RARE = 0.2
"""Rows that the reference (nearly) rules out, such as out-of-range values, weigh five times: their floor is a
fifth of the rule's min_effect."""
SINGLE = 0.4
"""One rate (missing, one level's share) moves as one: its floor is two fifths of the rule's min_effect."""
_POOLED = 5.0
"""Cells that expect fewer rows in either sample than this are pooled for the overall test."""


@dataclass(frozen=True)
class Aspect:
    """One question asked of a column. `effect` is a share of rows, 0 to 1; it counts from `floor` *
    min_effect on."""

    name: str
    p_value: float
    effect: float
    floor: float
    text: str


@dataclass(frozen=True)
class Noise:
    """By how much two samples of one distribution differ: by their rows, and by their blocks.

    blocks: what one block's variance is multiplied by; window_blocks: the window's part of it.
    """

    current_rows: float
    reference_rows: float
    blocks: float = 0.0
    window_blocks: float = 0.0
    between: Between | None = None

    @property
    def rows(self) -> float:
        """1/n + 1/N: what one row's variance is multiplied by."""
        return 1.0 / self.current_rows + 1.0 / self.reference_rows

    @classmethod
    def of(cls, shares: Shares, expected: Expected, window: Window, present: int) -> Noise:
        """For the `present` rows of a window against what is expected of it."""
        current, reference = max(1.0, float(present)), max(1.0, expected.rows)
        between = shares.between
        if between is None:
            return cls(current, reference)
        # A window with few seasons (a weekend) is compared with the few blocks that have them.
        blocks = max(1.0, between.blocks * min(1.0, expected.rows / max(1, shares.present)))
        rho = between.autocorrelation
        of_window = mean_of_blocks(window.blocks, rho)
        return cls(current, reference, of_window + mean_of_blocks(blocks, rho), of_window, between)

    def doubt(self, sampling: float, between: float) -> float:
        """Degrees of freedom of the sum of a known and an estimated variance (Satterthwaite)."""
        if self.between is None or between <= 0.0:
            return math.inf
        part = between / (sampling + between)
        return self.between.freedom / (part * part)

    def of_contrast(self, name: str) -> float:
        """The variance that blocks add to a contrast's difference."""
        return 0.0 if self.between is None else self.between.contrasts.get(name, 0.0) * self.blocks

    def of_cells(self, shares: NDArray[np.float64]) -> NDArray[np.float64]:
        """The variance [B] that blocks add to each cell's difference."""
        return np.zeros_like(shares) if self.between is None else self.between.cells * shares * self.blocks


def distribution(
    reference: NDArray[np.float64],
    current: NDArray[np.float64],
    noise: Noise,
    order: NDArray[np.int64] | None = None,
) -> Aspect:
    """Whether the shares [B] differ in any way.

    order: in which cells that expect few rows are pooled, as given by default. It must not follow the
    reference's counts: a pool of the largest holds those that chance made large.
    """
    between = noise.of_cells(reference)
    effect = total_variation(reference, current, reference * (1.0 - reference) * noise.rows + between)
    pooled = _pool(reference * min(noise.current_rows, noise.reference_rows), order)
    p, q, added = (np.bincount(pooled, values).astype(np.float64) for values in (reference, current, between))
    return Aspect(
        "distribution",
        p_cells(p, q, added, noise),
        effect,
        1.0,
        f"its distribution has another shape: {effect:.0%} of the rows would have to move",
    )


def p_cells(
    reference: NDArray[np.float64],
    current: NDArray[np.float64],
    between: NDArray[np.float64],
    noise: Noise,
) -> float:
    """P value of equal shares [B]: Pearson's statistic with the second-order correction for blocks."""
    pooled = noise.reference_rows * reference + noise.current_rows * current
    seen = pooled > 0.0
    p = pooled[seen] / pooled.sum()
    freedom = len(p) - 1
    if freedom < 1:
        return 1.0
    gap = current[seen] - reference[seen]
    roots = np.sqrt(current[seen]) - np.sqrt(reference[seen])
    # Pearson's statistic, or Hellinger's where that is smaller: they agree on small differences, but a tail
    # that some blocks multiply would rule the first.
    squared = min(float(np.sum(np.square(gap) / p)), 4.0 * float(np.sum(np.square(roots))))
    added = float(np.sum(between[seen] / p))
    concentration = max(1.0 / freedom, noise.between.concentration if noise.between else 0.0)
    mean = freedom * noise.rows + added
    variance = 2.0 * (
        freedom * noise.rows**2 + 2.0 * noise.rows * added + added * added * min(1.0, concentration)
    )
    return p_distance(squared, mean, variance, noise.doubt(freedom * noise.rows, added))


def contrast(
    name: str,
    score: NDArray[np.float64],
    reference: NDArray[np.float64],
    current: NDArray[np.float64],
    noise: Noise,
) -> tuple[float, float, float]:
    """P value, effect and difference of a contrast's mean; score: [B].

    The effect is the share of rows that would have to move, to first order: E|s| / (2 Var s) times the
    difference.
    """
    difference = float((current - reference) @ score)
    centred = score - reference @ score
    variance = float(reference @ np.square(centred))
    if variance <= 0.0:
        return 1.0, 0.0, 0.0
    # The wider of the two, so that a wider spread is not taken for another location.
    within = max(variance, float(current @ np.square(score - current @ score)))
    sampling, between = within * noise.rows, noise.of_contrast(name)
    effect = float(reference @ np.abs(centred)) / (2.0 * variance) * abs(difference)
    p = p_difference(difference, sampling + between, noise.doubt(sampling, between))
    return p, min(1.0, effect), difference


def spread(
    score: NDArray[np.float64], reference: NDArray[np.float64], current: NDArray[np.float64], noise: Noise
) -> tuple[float, float, float]:
    """P value, effect and difference of the variance of a location score [B] about each sample's own mean."""
    before, now = float(variance_of(score, reference)), float(variance_of(score, current))
    # A window of one block lacks the variance between blocks; parts of two unlike ones may have it twice.
    apart = noise.of_contrast("location") / noise.blocks if noise.blocks else 0.0
    slack = noise.window_blocks * apart
    difference = now - min(max(now, before - slack), before + slack)
    centred = np.square(score - reference @ score) - before
    fourth = max(
        float(reference @ np.square(centred)),
        float(current @ np.square(np.square(score - current @ score) - now)),
    )
    if before <= 0.0 or fourth <= 0.0:
        return 1.0, 0.0, 0.0
    # How far apart a window's blocks lie differs, too: a variance of so many normal values.
    sampling = fourth * noise.rows
    between = noise.of_contrast("spread") + 2.0 * apart * apart * noise.blocks
    # The density's derivative by the logarithm of its scale is (s^2 - 1) for a normal score.
    effect = float(reference @ np.abs(centred)) / 4.0 * abs(difference) / (before * before)
    p = p_difference(difference, sampling + between, noise.doubt(sampling, between))
    return p, min(1.0, effect), difference


def missing(expected: Expected, window: Window, absent: int, noise: Noise) -> Aspect:
    """Whether more or fewer rows than expected come without a value."""
    rate = absent / max(1, window.rows)
    between = noise.of_contrast("missing")
    sampling = max(rate, expected.missing) * (
        1.0 / max(1, window.rows) + 1.0 / max(1.0, expected.missing_rows)
    )
    p = p_share(
        absent,
        window.rows,
        expected.missing * expected.missing_rows,
        expected.missing_rows,
        between,
        noise.doubt(sampling, between),
    )
    text = f"it is missing in {rate:.1%} of the rows ({expected.missing:.1%} before)"
    return Aspect("missing", p, abs(rate - expected.missing), SINGLE, text)


def _pool(expected_rows: NDArray[np.float64], order: NDArray[np.int64] | None) -> NDArray[np.int64]:
    """Number of the pool of each cell [B]; those with few expected rows share one until they have enough."""
    order = np.arange(len(expected_rows)) if order is None else order
    pool = np.zeros(len(expected_rows), dtype=np.int64)
    number, rows, waiting = -1, _POOLED, -1
    for index in order:
        if expected_rows[index] >= _POOLED:
            number += 1
            pool[index] = number
            continue
        if rows >= _POOLED:
            number, rows = number + 1, 0.0
            waiting = number
        pool[index] = waiting
        rows += float(expected_rows[index])
    return pool

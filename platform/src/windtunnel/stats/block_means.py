"""Means of rows that come in blocks: days that are alike within, so that rows of one day are not independent.

The variance of such a mean has two parts: what rows add (it shrinks with their number) and what days add (it
shrinks only with the number of days; a million rows of one day are one day). The second is estimated by a
one-way analysis of variance (Searle, Casella and McCulloch 1992, ch. 3) over the days of the reference, and
counts for a current window too, which may be a single day. The few days of a reference tell their variance
badly, hence Student's t with degrees of freedom after Satterthwaite 1946.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.stats.between_blocks import effective_blocks

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray


@dataclass(frozen=True)
class BlockMean:
    """A mean with what is needed to judge it, and others by it."""

    mean: float
    rows: int
    blocks: float
    """Of equal size that weigh as much."""
    row_variance: float
    """Of single rows within their block."""
    block_variance: float
    """Of the blocks' means, beyond what their rows explain; 0 where there is one block."""

    @property
    def standard_error(self) -> float:
        if not self.rows:
            return math.inf
        return math.sqrt(self.row_variance / self.rows + self.block_variance / self.blocks)

    def to_json(self) -> dict[str, Any]:
        return {
            "mean": self.mean,
            "rows": self.rows,
            "blocks": round(self.blocks, 3),
            "row_variance": self.row_variance,
            "block_variance": self.block_variance,
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> BlockMean:
        return cls(**{name: found[name] for name in cls.__annotations__})


def block_mean(values: NDArray[np.float64], blocks: NDArray[Any]) -> BlockMean:
    """Of values [N] (N >= 1) in blocks [N] (any labels)."""
    _, of, rows = np.unique(blocks, return_inverse=True, return_counts=True)
    mean = float(values.mean())
    means = np.bincount(of, values) / rows
    within = float(np.square(values - means[of]).sum())
    count, groups = len(values), len(rows)
    if groups == count:
        # a day for every row: what days add cannot be told from what rows add
        return BlockMean(mean, count, float(groups), float(values.var(ddof=1)) if count > 1 else 0.0, 0.0)
    row_variance = within / (count - groups)
    block_variance = 0.0
    if groups > 1:
        between = float((rows * np.square(means - mean)).sum()) / (groups - 1)
        size = (count - float(np.square(rows).sum()) / count) / (groups - 1)
        block_variance = max(0.0, (between - row_variance) / size)
    return BlockMean(mean, count, effective_blocks(rows), row_variance, block_variance)


def difference(
    current: BlockMean, reference: BlockMean, tail: float, blocks: BlockMean | None = None
) -> tuple[float, tuple[float, float]]:
    """current - reference, and its interval: each end is wrong with probability `tail`.

    The variance between blocks is that of `blocks` (default: the reference).
    """
    told = blocks or reference
    found = current.mean - reference.mean
    of_rows = current.row_variance / max(1, current.rows) + reference.row_variance / max(1, reference.rows)
    of_blocks = told.block_variance * (1.0 / max(1.0, current.blocks) + 1.0 / max(1.0, reference.blocks))
    half = quantile(tail, of_rows, of_blocks, told.blocks) * math.sqrt(of_rows + of_blocks)
    return found, (found - half, found + half)


def quantile(tail: float, of_rows: float, of_blocks: float, blocks: float) -> float:
    """How many standard errors the interval reaches: Student's t where blocks matter and are few."""
    from scipy import special

    freedom = freedom_of(of_rows, of_blocks, blocks)
    return float(-special.ndtri(tail) if math.isinf(freedom) else -special.stdtrit(freedom, tail))


def freedom_of(of_rows: float, of_blocks: float, blocks: float) -> float:
    """Degrees of freedom of a variance whose part `of_blocks` was estimated from so many blocks."""
    if of_blocks <= 0.0 or blocks <= 1.0:
        return math.inf
    return max(1.0, (blocks - 1.0) * ((of_rows + of_blocks) / of_blocks) ** 2)

"""What days (or hours) add to the variance of a share: rows of one block are not independent.

A window's share differs from the reference's by sampling, which shrinks with its rows, and by its days, which
shrinks only with its days: a million rows of one day are still one day. The second part is estimated once,
from the blocks of the reference, and stored in the profile; days in a row may resemble each other, which
their lag-one autocorrelation tells. Units: squared shares, per block.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

_LEAST_ROWS = 20
"""Blocks with fewer rows say nothing on the variance between blocks."""
_LEAST_FREEDOM = 2.0
_MOST_AUTOCORRELATION = 0.95


@dataclass(frozen=True)
class Between:
    """Variance between blocks of one column, net of its seasons.

    cells: [B], each cell's variance over its share. concentration: how few directions it lies in, from
    1/(B - 1) (all cells move by themselves) to 1 (all move together). contrasts: variance of each contrast.
    freedom: degrees of freedom of these estimates.
    """

    blocks: int
    freedom: float
    autocorrelation: float
    concentration: float
    cells: NDArray[np.float64]
    contrasts: Mapping[str, float] = field(default_factory=dict)

    def with_contrast(self, name: str, variance: float) -> Between:
        return replace(self, contrasts={**self.contrasts, name: variance})

    def to_json(self) -> dict[str, Any]:
        return {
            "blocks": self.blocks,
            "freedom": round(self.freedom, 2),
            "autocorrelation": round(self.autocorrelation, 3),
            "concentration": round(self.concentration, 4),
            "cells": [float(f"{value:.3g}") for value in self.cells],
            "contrasts": {name: float(f"{value:.4g}") for name, value in self.contrasts.items()},
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Between:
        return cls(
            blocks=found["blocks"],
            freedom=found["freedom"],
            autocorrelation=found["autocorrelation"],
            concentration=found["concentration"],
            cells=np.asarray(found["cells"], dtype=np.float64),
            contrasts=dict(found["contrasts"]),
        )


def mean_of_blocks(blocks: float, autocorrelation: float) -> float:
    """Variance of the mean of so many blocks in a row, in units of one block's (an AR(1) series)."""
    if blocks <= 1.0:
        return 1.0
    rho = autocorrelation
    inner = (1.0 + rho) / (1.0 - rho) - 2.0 * rho * (1.0 - rho**blocks) / (blocks * (1.0 - rho) ** 2)
    return min(1.0, float(inner / blocks))


def effective_blocks(rows_of_blocks: NDArray[np.int64]) -> float:
    """How many blocks of equal size weigh as much as these: 1 where one holds nearly all rows."""
    total = float(rows_of_blocks.sum())
    return total * total / float(np.square(rows_of_blocks.astype(np.float64)).sum()) if total else 1.0


def estimate(
    counts: NDArray[np.int64],
    expected: NDArray[np.float64],
    leverage: float,
    scores: Mapping[str, NDArray[np.float64]],
) -> Between | None:
    """Variance between blocks from counts [K, B] of blocks in their order; None where blocks are too few.

    expected: shares [K, B] that each block would have by its seasons. leverage: how many blocks' worth of
    freedom went into `expected` (1 for one common mean). scores: contrasts [B].
    """
    rows = counts.sum(axis=1)
    chosen = rows >= max(_LEAST_ROWS, 0.05 * float(np.median(rows)) if len(rows) else 0)
    freedom = float(chosen.sum()) - leverage
    if freedom < _LEAST_FREEDOM:
        return None
    rows, counts, expected = rows[chosen].astype(np.float64), counts[chosen], expected[chosen]
    share = counts.sum(axis=0) / counts.sum()
    seen = share > 0.0
    residual = counts / rows[:, None] - expected
    inverse_rows = float((1.0 / rows).mean())
    sampling = share * (1.0 - share) * inverse_rows
    variance = np.maximum(np.square(residual).sum(axis=0) / freedom - sampling, 0.0)
    cells = np.divide(variance, share, out=np.zeros_like(share), where=seen)
    rho = _autocorrelation(residual[:, seen] / np.sqrt(share[seen]), float(cells.sum()), freedom)
    return Between(
        blocks=len(rows),
        freedom=max(1.0, freedom * (1.0 - rho * rho) / (1.0 + rho * rho)),
        autocorrelation=rho,
        concentration=_concentration(residual[:, seen] / np.sqrt(share[seen]), inverse_rows, freedom),
        cells=cells,
        contrasts=_contrasts(counts / rows[:, None], expected, share, scores, inverse_rows, freedom),
    )


def _contrasts(
    shares: NDArray[np.float64],
    expected: NDArray[np.float64],
    share: NDArray[np.float64],
    scores: Mapping[str, NDArray[np.float64]],
    inverse_rows: float,
    freedom: float,
) -> dict[str, float]:
    found = {}
    for name, score in scores.items():
        gap = (shares - expected) @ score
        sampling = float(share @ np.square(score)) - float(share @ score) ** 2
        found[name] = max(0.0, float(np.square(gap).sum()) / freedom - sampling * inverse_rows)
    if "location" in scores:
        score = scores["location"]
        # What is within a block lacks what lies between blocks.
        gap = variance_of(score, shares) - (variance_of(score, expected) - found["location"])
        fourth = float(share @ (score - share @ score) ** 4) - float(variance_of(score, share)) ** 2
        found["spread"] = max(0.0, float(np.square(gap).sum()) / freedom - fourth * inverse_rows)
    return found


def variance_of(score: NDArray[np.float64], shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Variance of a score [B] over rows with such shares [..., B]."""
    return np.asarray(shares @ np.square(score) - np.square(shares @ score))


def _autocorrelation(residual: NDArray[np.float64], variance: float, freedom: float) -> float:
    """Of successive blocks, pooled over cells and corrected for its bias in short series (Kendall 1954)."""
    if variance <= 0.0:
        return 0.0
    rho = float((residual[1:] * residual[:-1]).sum()) / freedom / variance
    if rho <= 1.0 / math.sqrt(len(residual)):
        return 0.0  # within one standard error of what independent blocks show
    return float(min(rho + (1.0 + 3.0 * rho) / len(residual), _MOST_AUTOCORRELATION))


def _concentration(residual: NDArray[np.float64], inverse_rows: float, freedom: float) -> float:
    """tr(T^2) / tr(T)^2 of the standardised covariance T between blocks, net of sampling (I / m)."""
    dimensions = max(1, int(residual.shape[1]) - 1)
    covariance = residual.T @ residual / freedom
    trace, squares = float(np.trace(covariance)), float(np.square(covariance).sum())
    squares = max(0.0, (squares - trace**2 / freedom) / (1.0 + 1.0 / freedom))
    between = trace - dimensions * inverse_rows
    if between <= 0.0:
        return 1.0 / dimensions
    squares -= 2.0 * between * inverse_rows + dimensions * inverse_rows**2
    return float(min(max(squares / (between * between), 1.0 / dimensions), 1.0))

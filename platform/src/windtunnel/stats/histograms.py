"""Shares for a picture: at most a dozen bins with their labels, reference beside current."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.stats.number_columns import shorter

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from windtunnel.stats.category_columns import CategoryWindow
    from windtunnel.stats.number_columns import NumberWindow

_BINS = 12
_LEVELS = 8


@dataclass(frozen=True)
class Histogram:
    """labels of the bins and the share of rows in each, before (reference) and now (current); sums are 1."""

    labels: list[str]
    reference: list[float]
    current: list[float]

    @classmethod
    def of(
        cls,
        labels: list[str],
        reference: NDArray[np.float64],
        current: NDArray[np.float64],
        missing: tuple[float, float],
    ) -> Histogram:
        """From shares of the rows with a value; `missing` (before, now) becomes a bin where it is not 0."""
        before, now = missing
        reference, current = reference * (1.0 - before), current * (1.0 - now)
        if before or now:
            labels = [*labels, "missing"]
            reference, current = np.append(reference, before), np.append(current, now)
        return cls(labels, [_share(value) for value in reference], [_share(value) for value in current])

    def to_json(self) -> dict[str, Any]:
        return {"labels": self.labels, "reference": self.reference, "current": self.current}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Histogram:
        return cls(list(found["labels"]), list(found["reference"]), list(found["current"]))


def of_numbers(found: NumberWindow) -> Histogram:
    """Neighbouring cells together, so that bins hold about equally many rows of the reference."""
    reference, current, edges = found.expected.shares, found.current, found.profile.edges
    if len(found.profile.values) and len(reference) <= _BINS:
        labels = [shorter(value) for value in found.profile.values]
        return Histogram.of(labels, reference, current, _missing(found))
    middle = np.cumsum(reference) - reference / 2.0
    group = np.unique((middle * _BINS).astype(np.int64), return_inverse=True)[1]
    between = [shorter(edges[index]) for index in np.flatnonzero(np.diff(group))]
    labels = [f"{low} to {high}" for low, high in pairwise(between)]
    labels = [f"below {between[0]}", *labels, f"from {between[-1]}"] if between else ["all"]
    before, now = (np.bincount(group, shares).astype(np.float64) for shares in (reference, current))
    return Histogram.of(labels, before, now, _missing(found))


def of_categories(found: CategoryWindow) -> Histogram:
    """The levels that are most frequent before or now, and all others together."""
    reference, current = found.with_unseen()
    shares = dict(zip(found.profile.levels, zip(reference, current, strict=False), strict=False))
    shares |= {name: (0.0, share) for name, share in found.new_categories()}
    largest = sorted(shares, key=lambda name: -max(shares[name]))[:_LEVELS]
    before, now = (np.array([shares[name][side] for name in largest]) for side in (0, 1))
    labels = list(largest)
    if before.sum() < 1.0 - 1e-9 or now.sum() < 1.0 - 1e-9:
        labels.append("other")
        before, now = (np.append(part, max(0.0, 1.0 - part.sum())) for part in (before, now))
    return Histogram.of(labels, before, now, (found.expected.missing, found.absent / max(1, found.rows)))


def _missing(found: NumberWindow) -> tuple[float, float]:
    rows = found.present + found.counted.missing
    return found.expected.missing, found.counted.missing / max(1, rows)


def _share(value: float) -> float:
    return round(float(value), 5)

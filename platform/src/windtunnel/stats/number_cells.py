"""Cells of a number column: where their edges lie, how rows are counted into them, how fine values are.

Cells follow the reference's quantiles, so that a skewed column (a lognormal amount) has as many cells where
its rows are as any other; equal widths would put them all into one. Missing = null, NaN,
infinite, or beyond 1e100: nobody measures that, and squares of it could not be summed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from windtunnel.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

FEW_VALUES = 32
"""A column with at most so many distinct values has a cell for each."""
TAIL = 0.02
"""The outermost two cells on either side, half a percent and one and a half, make up the tails."""
_LEVELS = (0.005, TAIL, *(step / 25.0 for step in range(1, 25)), 1.0 - TAIL, 0.995)
_FEW_LEVELS = (TAIL, *(step / 8.0 for step in range(1, 8)), 1.0 - TAIL)
HUGE = 1e100
_CHUNK = 65_536
"""Rows that stay in a core's cache while all edges pass over them: five times as fast as a search a row."""
RESOLUTIONS = (100.0, 10.0, 1.0, 0.1, 0.01, 0.001, 1e-4)
_BLUR = 6e-8
"""Relative rounding error of single precision."""
_ALIKE = 1e-10
"""Relative difference up to which two values are one: the last digits of a mean of constants are noise."""
_BEYOND = 1e30
_TELLING = 0.05
"""Of a resolution: with a rounding error beyond it, whether a value is a multiple cannot be told."""
_GRANULARITY_ROWS = 10_000


def as_numbers(column: pl.Series) -> NDArray[np.float64]:
    """A column of numbers or booleans [N] in double precision, null as NaN."""
    if column.dtype != pl.Float64:
        try:
            column = column.cast(pl.Float64, strict=column.dtype != pl.String)
        except pl.exceptions.PolarsError as error:
            raise DataError(
                f"values of type {column.dtype} are neither numbers nor texts",
                where=f"column {column.name}",
                fix="cast it to a number or a string first",
            ) from error
    return column.to_numpy()


def is_number(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which of the values [N] are there, and can be calculated with."""
    known: NDArray[np.bool_] = np.abs(values) < HUGE
    return known


def edges_of(present: NDArray[np.float64], few: bool = False) -> NDArray[np.float64]:
    """Inner edges of a reference's cells from its sorted values [N]; cell i holds edges[i-1] <= x < edges[i].

    few: ten cells in place of 29.

    An edge lies half way between two neighbouring values, so that the same value in single precision, as the
    serving process logs it, falls into the same cell.
    """
    if len(present) == 0:
        return np.empty(0)
    steps = np.flatnonzero(np.diff(present)) + 1
    low, high = present[steps - 1], present[steps]
    # Half of it: what an edge is apart from them, and of the smallest numbers there is no half.
    steps = steps[(high - low) / 2.0 > _ALIKE / 2.0 * np.maximum(np.abs(low), np.abs(high))]
    levels = _FEW_LEVELS if few else _LEVELS
    if len(steps) >= (len(levels) if few else FEW_VALUES):
        chosen = np.minimum((np.array(levels) * len(present)).astype(np.int64), len(present) - 1)
        before = np.searchsorted(steps, chosen, side="right")
        steps = np.unique(steps[before[before > 0] - 1])
    return np.unique((present[steps - 1] + present[steps]) / 2.0)


def scores_of(shares: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Contrasts [B] that find what an overall test of so many cells would need more rows for.

    location: the normal score of each cell (a shift of one is one standard deviation of a normal column); low
    and high: whether the cell is in that tail. Empty where all rows are in one cell.
    """
    middle = np.cumsum(shares) - shares / 2.0
    normal = NormalDist()
    location = np.array([normal.inv_cdf(min(max(value, 1e-4), 1.0 - 1e-4)) for value in middle])
    location -= shares @ location
    power = float(shares @ np.square(location))
    if power <= 0.0:
        return {}
    return {"location": location / math.sqrt(power), **tails_of(shares)}


def tails_of(shares: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Indicators [B] of the cells of the lowest and the highest two percent; none where values are few."""
    upto, limit = np.cumsum(shares), 1.5 * TAIL
    low, high = upto <= limit, 1.0 - upto + shares <= limit
    return {name: tail.astype(np.float64) for name, tail in (("low", low), ("high", high)) if tail.any()}


@dataclass(frozen=True)
class Counted:
    """One pass over a column's values: rows in each cell, beyond a range, missing, and sums."""

    counts: NDArray[np.int64]
    missing: int
    below: int
    above: int
    mean: float
    standard_deviation: float
    lowest: float
    highest: float
    tail_means: tuple[float, float]


def count_cells(
    values: NDArray[np.float64], edges: NDArray[np.float64], lowest: float, highest: float, centre: float
) -> Counted:
    """Count values [N]; rows below `lowest` or above `highest` are counted as such besides.

    centre: a value near the mean, about which squares are summed (raw squares of a timestamp lose all
    digits).
    """
    below_edge = np.zeros(len(edges), dtype=np.int64)
    buffer = np.empty(_CHUNK, dtype=np.bool_)
    present = below = above = 0
    total = squares = low_sum = high_sum = 0.0
    least, most = math.inf, -math.inf
    for start in range(0, len(values), _CHUNK):
        chunk = values[start : start + _CHUNK]
        least_here, most_here = float(chunk.min()), float(chunk.max())
        if not (least_here > -HUGE and most_here < HUGE):  # a NaN makes both false
            chunk = chunk[is_number(chunk)]
            if len(chunk) == 0:
                continue
            least_here, most_here = float(chunk.min()), float(chunk.max())
        offset = chunk - centre
        mark = buffer[: len(chunk)]
        for index, edge in enumerate(edges):
            below_edge[index] += np.count_nonzero(np.less(chunk, edge, out=mark))
        if len(edges):
            high_sum += float(offset[np.greater_equal(chunk, edges[-1], out=mark)].sum())
            low_sum += float(offset[np.less(chunk, edges[0], out=mark)].sum())
        if least_here < lowest:
            below += int(np.count_nonzero(np.less(chunk, lowest, out=mark)))
        if most_here > highest:
            above += int(np.count_nonzero(np.greater(chunk, highest, out=mark)))
        present += len(chunk)
        total += float(offset.sum())
        squares += float(offset @ offset)
        least, most = min(least, least_here), max(most, most_here)
    counts = np.diff(below_edge, prepend=0, append=present)
    mean = total / max(1, present)
    low, high = (low_sum, high_sum) if len(edges) else (total, total)
    return Counted(
        counts=counts,
        missing=len(values) - present,
        below=below,
        above=above,
        mean=centre + mean,
        standard_deviation=math.sqrt(max(0.0, squares / max(1, present) - mean * mean)),
        lowest=least if present else math.nan,
        highest=most if present else math.nan,
        tail_means=(centre + low / max(1, counts[0]), centre + high / max(1, counts[-1])),
    )


def granularity(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """[R, 2]: for each of RESOLUTIONS, rows that show whether they are a multiple of it, and those that are.

    Looks at up to 10,000 rows, zeros left out, as single precision shows them.
    """
    sample = values[:: max(1, len(values) // _GRANULARITY_ROWS)]
    sample = np.abs(sample[is_number(sample) & (sample != 0.0)])
    sample = np.minimum(sample, _BEYOND).astype(np.float32).astype(np.float64)
    found = []
    for resolution in RESOLUTIONS:
        units = sample / resolution
        blur = _BLUR * units
        told = blur <= _TELLING
        multiple = told & (np.abs(units - np.rint(units)) <= blur + 1e-9)
        found.append([int(np.count_nonzero(told)), int(np.count_nonzero(multiple))])
    return np.array(found, dtype=np.int64)

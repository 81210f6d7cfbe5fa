"""Number columns: their profile, and what has changed about them in a window."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.stats.aspects import RARE, Aspect, Noise, contrast, distribution, missing, p_cells
from windtunnel.stats.cells import Shares, shares_of
from windtunnel.stats.distances import wasserstein
from windtunnel.stats.number_cells import (
    RESOLUTIONS,
    Counted,
    as_numbers,
    count_cells,
    edges_of,
    granularity,
    scores_of,
)
from windtunnel.stats.significance import p_beyond, p_share

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import polars as pl
    from numpy.typing import NDArray

    from windtunnel.stats.cells import Expected, Rows, Window

_QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
_SLACK = 1e-6
"""Of the reference's range: what lies no farther outside it is a rounding error."""
_COARSER = 2.0
"""The floor of a change of rounding: it concerns a whole column at once, and harms little by itself."""


@dataclass(frozen=True)
class NumberProfile:
    """Shares over cells between `edges`, and what a reader and the distances need besides.

    Moments, quantiles and range are of finite values, NaN where there are none; tail_means are the means of
    the first and last cell; granularity counts a sample's rows by how coarse their values are.
    """

    shares: Shares
    edges: NDArray[np.float64]
    mean: float
    standard_deviation: float
    lowest: float
    highest: float
    tail_means: tuple[float, float]
    quantiles: Mapping[str, float]
    granularity: NDArray[np.int64]
    kind = "number"

    @classmethod
    def of(cls, column: pl.Series, rows: Rows) -> NumberProfile:
        values = as_numbers(column)
        finite = np.isfinite(values)
        present = np.sort(values[finite])
        edges = edges_of(present)
        cell = np.searchsorted(edges, values, side="right")
        cell[~finite] = cells = len(edges) + 1
        counts = np.bincount(cell, minlength=cells + 1)[:cells]
        scores = scores_of(counts / max(1, len(present)))
        some = len(present) > 0
        picked = np.quantile(present, _QUANTILES) if some else np.full(len(_QUANTILES), math.nan)
        first, last = present[: counts[0]], present[len(present) - counts[-1] :]
        return cls(
            shares=shares_of(cell, cells, rows, scores),
            edges=edges,
            mean=float(present.mean()) if some else math.nan,
            standard_deviation=float(present.std()) if some else math.nan,
            lowest=float(present[0]) if some else math.nan,
            highest=float(present[-1]) if some else math.nan,
            tail_means=(float(first.mean()), float(last.mean())) if some else (math.nan, math.nan),
            quantiles={f"{level:g}": float(q) for level, q in zip(_QUANTILES, picked, strict=True)},
            granularity=granularity(values),
        )

    def count(self, column: pl.Series) -> tuple[Counted, NDArray[np.int64]]:
        """A window's rows in these cells, and its granularity."""
        values = as_numbers(column)
        slack = _SLACK * max(abs(self.lowest), abs(self.highest), self.highest - self.lowest)
        low, high = self.lowest - slack, self.highest + slack
        centre = self.mean if math.isfinite(self.mean) else 0.0
        return count_cells(values, self.edges, low, high, centre), granularity(values)

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "mean": _short(self.mean),
            "standard_deviation": _short(self.standard_deviation),
            "lowest": _short(self.lowest),
            "highest": _short(self.highest),
            "quantiles": {level: _short(value) for level, value in self.quantiles.items()},
            "edges": [_short(edge) for edge in self.edges],
            "tail_means": [_short(mean) for mean in self.tail_means],
            "granularity": self.granularity.tolist(),
            "shares": self.shares.to_json(),
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> NumberProfile:
        low, high = found["tail_means"]
        return cls(
            shares=Shares.from_json(found["shares"]),
            edges=np.asarray(found["edges"], dtype=np.float64),
            mean=_number(found["mean"]),
            standard_deviation=_number(found["standard_deviation"]),
            lowest=_number(found["lowest"]),
            highest=_number(found["highest"]),
            tail_means=(_number(low), _number(high)),
            quantiles={level: _number(value) for level, value in found["quantiles"].items()},
            granularity=np.asarray(found["granularity"], dtype=np.int64),
        )


@dataclass(frozen=True)
class NumberWindow:
    """A window's column beside its profile."""

    profile: NumberProfile
    counted: Counted
    granularity: NDArray[np.int64]
    expected: Expected
    noise: Noise
    current: NDArray[np.float64]

    @classmethod
    def of(cls, profile: NumberProfile, column: pl.Series, window: Window) -> NumberWindow:
        counted, grains = profile.count(column)
        expected = profile.shares.expected(window.seasons)
        present = int(counted.counts.sum())
        noise = Noise.of(profile.shares, expected, window, present)
        return cls(profile, counted, grains, expected, noise, counted.counts / max(1, present))

    @property
    def present(self) -> int:
        return int(self.counted.counts.sum())

    @property
    def out_of_range(self) -> float:
        """Share of the rows with a value that lie outside the reference's lowest and highest."""
        return (self.counted.below + self.counted.above) / max(1, self.present)

    def wasserstein(self) -> float:
        """In the reference's standard deviations; of a constant, in its unit."""
        scale = self.profile.standard_deviation
        distance = wasserstein(
            self.profile.edges,
            self.expected.shares,
            self.current,
            self.profile.tail_means,
            self.counted.tail_means,
        )
        return distance / scale if scale > 0.0 else distance

    def aspects(self, window: Window) -> Iterator[Aspect]:
        """Everything asked of this column; of a column without values, only whether they are missing."""
        shares = self.profile.shares
        yield missing(self.expected, window, self.counted.missing, self.noise)
        if not self.present or not shares.present:
            return
        yield self._out_of_range()
        yield self._granularity()
        yield distribution(self.expected.shares, self.current, self.noise)
        scores = scores_of(shares.counts / shares.present)
        for name, text in (("location", self._moved), ("spread", self._spread)):
            if name in scores:
                p, effect, difference = contrast(
                    name, scores[name], self.expected.shares, self.current, self.noise
                )
                yield Aspect(name, p, effect, 1.0, text(difference))
        for name in ("low", "high"):
            if name in scores:
                yield self._tail(name, scores[name])

    def _moved(self, difference: float) -> str:
        before, now = self.profile.mean, self.counted.mean
        return (
            f"its values moved {'up' if difference > 0 else 'down'} by {abs(difference):.2f} standard"
            f" deviations (mean {before:.4g} before, {now:.4g} now)"
        )

    def _spread(self, difference: float) -> str:
        before, now = self.profile.standard_deviation, self.counted.standard_deviation
        return (
            f"its values spread {'wider' if difference > 0 else 'less'}"
            f" (standard deviation {before:.4g} before, {now:.4g} now)"
        )

    def _tail(self, name: str, score: NDArray[np.float64]) -> Aspect:
        before, now = float(self.expected.shares @ score), float(self.current @ score)
        added = self.noise.of_contrast(name)
        p = p_share(
            now * self.noise.current_rows,
            self.noise.current_rows,
            before * self.noise.reference_rows,
            self.noise.reference_rows,
            added,
            self.noise.doubt(max(before, now) * self.noise.rows, added),
        )
        end = "lowest" if name == "low" else "highest"
        text = f"{now:.1%} of the values lie in the {end} tail ({before:.1%} before)"
        return Aspect(name, p, abs(now - before), RARE, text)

    def _out_of_range(self) -> Aspect:
        beyond = self.counted.below + self.counted.above
        # Rows of a block fall outside together: they count as what they would weigh if independent.
        weight = self._weight()
        p = p_beyond(beyond * weight, self.noise.current_rows * weight, self.noise.reference_rows * weight)
        low, high = self.profile.lowest, self.profile.highest
        text = (
            f"{self.out_of_range:.1%} of the values lie outside {low:.5g} to {high:.5g}, all that was seen"
            f" before (now {self.counted.lowest:.5g} to {self.counted.highest:.5g})"
        )
        return Aspect("out_of_range", p, self.out_of_range, RARE, text)

    def _weight(self) -> float:
        """Share of a row that counts as independent: the inverse of the design effect of the tails."""
        between = self.noise.between
        if between is None:
            return 1.0
        ends = self.noise.of_cells(self.expected.shares)[[0, -1]].max()
        share = max(float(self.expected.shares[[0, -1]].max()), 1e-9)
        sampling = share * (1.0 - share) * self.noise.rows
        return 1.0 if sampling <= 0.0 else float(sampling / (sampling + ends))

    def _granularity(self) -> Aspect:
        before, now = self.profile.granularity, self.granularity
        rows, reference_rows = int(now.sum()), int(before.sum())
        if not rows or not reference_rows:
            return Aspect("granularity", 1.0, 0.0, _COARSER, "")
        p, q = before / reference_rows, now / rows
        effect = float(np.abs(p - q).sum() / 2.0)
        grains = Noise(rows, reference_rows)
        chance = p_cells(p, q, np.zeros_like(p), grains)
        # The finest resolution that most of the values show, before and now.
        coarse = [_finest(share) for share in (p, q)]
        text = f"its values are rounded differently: {coarse[0]} before, {coarse[1]} now"
        return Aspect("granularity", chance, effect, _COARSER, text)


def _finest(shares: NDArray[np.float64]) -> str:
    index = int(np.searchsorted(np.cumsum(shares), 0.95))
    return f"multiples of {RESOLUTIONS[index]:g}" if index < len(RESOLUTIONS) else "full precision"


def _short(value: float) -> float | None:
    """Ten significant digits, which keep a timestamp's seconds; JSON knows no NaN."""
    return float(f"{value:.10g}") if math.isfinite(value) else None


def _number(value: float | None) -> float:
    return math.nan if value is None else value

"""Number columns: their profile, and what has changed about them in a window."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.stats.aspects import RARE, Aspect, Noise, contrast, distribution, missing, spread
from windtunnel.stats.cells import Shares, shares_of
from windtunnel.stats.distances import wasserstein
from windtunnel.stats.number_cells import (
    FEW_VALUES,
    RESOLUTIONS,
    Counted,
    as_numbers,
    count_cells,
    edges_of,
    granularity,
    is_number,
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
_NEARLY_ALL = 0.95
_COARSER = 2.0
"""The floor of a change of rounding: it concerns a whole column at once, and harms little by itself."""


@dataclass(frozen=True)
class NumberProfile:
    """Shares over cells between `edges`, and what a reader and the distances need besides.

    Moments, quantiles and range are of finite values, NaN where there are none; tail_means are the means of
    the first and last cell; granularity: see there, [R, 2]; values: of the cells, where each is one value;
    few: whether the column has so few values that each could have a cell.
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
    values: list[float]
    few: bool
    kind = "number"

    @classmethod
    def of(cls, column: pl.Series, rows: Rows) -> NumberProfile:
        values = as_numbers(column)
        finite = is_number(values)
        present = np.sort(values[finite])
        edges = edges_of(present, rows.few_cells)
        cell = np.searchsorted(edges, values, side="right")
        cell[~finite] = cells = len(edges) + 1
        counts = np.bincount(cell, minlength=cells + 1)[:cells]
        distinct = present[np.flatnonzero(np.diff(present, prepend=-math.inf))]
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
            values=[float(value) for value in distinct] if len(distinct) == cells else [],
            few=len(distinct) <= FEW_VALUES,
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
            "edges": [_short(edge, 12) for edge in self.edges],
            "tail_means": [_short(mean) for mean in self.tail_means],
            "granularity": self.granularity.tolist(),
            "values": [_short(value) for value in self.values],
            "few": self.few,
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
            values=list(found["values"]),
            few=found["few"],
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
        if "location" in scores:
            score = scores["location"]
            p, effect, difference = contrast(
                "location", score, self.expected.shares, self.current, self.noise
            )
            yield Aspect("location", p, effect, 1.0, self._moved(difference))
            if len(score) > 2:
                p, effect, difference = spread(score, self.expected.shares, self.current, self.noise)
                yield Aspect("spread", p, effect, 1.0, self._spread(difference))
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
        """Whether values are rounded more coarsely, or more finely, than nearly all were before."""
        before, now = self.profile.granularity, self.granularity
        own = next(
            (i for i, (told, yes) in enumerate(before) if told and yes >= _NEARLY_ALL * told), len(before)
        )
        asked = [index for index in (own - 1, own) if 0 <= index < len(before)]
        if self.profile.few:
            # Few values: how many of them are multiples of ten follows from their own shares.
            asked = [index for index in asked if index == own]
        worst = Aspect("granularity", 1.0, 0.0, _COARSER, "")
        for index in asked:
            (rows, count), (reference_rows, reference) = now[index], before[index]
            p = min(1.0, len(asked) * p_share(count, rows, reference, reference_rows))
            share, usual = count / max(1, rows), reference / max(1, reference_rows)
            if rows and reference_rows and p < worst.p_value:
                text = (
                    f"{share:.0%} of its values are multiples of {RESOLUTIONS[index]:g} ({usual:.0%} before)"
                )
                worst = Aspect("granularity", p, abs(share - usual), _COARSER, text)
        return worst


def _short(value: float, digits: int = 10) -> float | None:
    """Ten significant digits, which keep a timestamp's seconds, and two more for an edge, which must stay
    between its neighbours (number_cells.edges_of); JSON knows no NaN.
    """
    return float(f"{value:.{digits}g}") if math.isfinite(value) else None


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def shorter(value: float) -> str:
    """For a label: three significant digits, whole numbers as they are."""
    return f"{value:.0f}" if value == round(value) and abs(value) < 1e6 else f"{value:.3g}"

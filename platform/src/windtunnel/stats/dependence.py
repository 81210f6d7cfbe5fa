"""How columns go together: correlations of normal scores, which a change of single columns leaves alone.

A join on the wrong key, or two columns swapped between rows, keeps every column's own distribution and
destroys what the model has learnt. Columns enter by the normal score of their cell (numbers) or as the
indicator of a frequent level (categories), at most 48 in all, on at most 20,000 rows; each is freed of the
mean of its season and of its block: how columns go together within a day, not how days differ.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from windtunnel.stats.aspects import Aspect
from windtunnel.stats.category_columns import CategoryProfile, as_texts
from windtunnel.stats.cells import Rows, codes_of
from windtunnel.stats.number_cells import as_numbers, is_number, scores_of
from windtunnel.stats.number_columns import NumberProfile
from windtunnel.stats.significance import p_difference

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from windtunnel.stats.cells import Window

ROWS = 20_000
_COLUMNS = 48
_LEVELS = 2
_LEAST_ROWS = 40
_LEAST_BLOCKS = 4
_FEW_BLOCKS = 2.5
_LIMIT = 0.98
"""Correlations beyond this count as it: their Fisher transform would make noise of rounding large."""


@dataclass(frozen=True)
class Dependence:
    """Correlations of `names` (a column, or "column=level"): upper triangle [P], a row's part in the variance
    of each, and what blocks add to it. blocks: how many tell of a pair, [P]; 0 for all where they are too
    few. season_means: mean score by season, [S, D].
    """

    names: list[str]
    rows: int
    correlations: NDArray[np.float64]
    variance: NDArray[np.float64]
    blocks: NDArray[np.int64]
    between: NDArray[np.float64]
    within_blocks: bool
    seasons: list[str]
    season_means: NDArray[np.float64]

    @classmethod
    def of(cls, frame: pl.DataFrame, columns: Mapping[str, Any], rows: Rows) -> Dependence:
        """frame: a sample of the reference; rows: the blocks and seasons of these."""
        names = _names(columns)
        if not names:
            nothing = np.empty(0)
            none = np.empty(0, dtype=np.int64)
            return cls([], frame.height, nothing, nothing, none, nothing, False, [], np.empty((0, 0)))
        scores = _scores(frame, columns, names)
        means = np.zeros((0, len(names)))
        if rows.season is not None:
            means = _means(scores, rows.season, len(rows.seasons))
            scores = scores - means[rows.season]
        if rows.block is not None:
            scores = scores - _means(scores, rows.block)[rows.block]
        correlations, variance = _correlations(scores)
        blocks, between = _between(scores, correlations, variance, rows.block)
        if blocks.any():
            # Of a pair that moves within one block or two, nobody knows how it would within others.
            correlations = np.where(blocks >= _LEAST_BLOCKS, correlations, math.nan)
        within = rows.block is not None
        return cls(names, len(scores), correlations, variance, blocks, between, within, rows.seasons, means)

    def aspects(
        self,
        frame: pl.DataFrame,
        columns: Mapping[str, Any],
        blocks: pl.Series | None,
        seasons: pl.Series | None,
        window: Window,
    ) -> tuple[list[Aspect], int]:
        """The most changed pairs of columns, and how many pairs were asked.

        frame: a sample of the window; blocks and seasons: of its rows.
        """
        if len(self.names) < 2 or not self.rows or not frame.height:
            return [], 0
        scores = _scores(frame, columns, self.names)
        if seasons is not None and self.seasons:
            code = seasons.cast(pl.String).replace_strict(
                pl.Series(self.seasons),
                pl.Series(range(len(self.seasons))),
                default=len(self.seasons),
                return_dtype=pl.Int64,
            )
            # A season that the reference never had has no mean to be freed of.
            means = np.vstack([self.season_means, np.zeros(len(self.names))])
            scores = scores - means[code.fill_null(len(self.seasons)).to_numpy()]
        correlations, variance = _correlations(scores)
        block, _ = codes_of(blocks if self.within_blocks else None)
        effective: float | NDArray[np.float64] = window.blocks
        if block is not None:
            freed = scores - _means(scores, block)[block]
            within, variance = _correlations(freed)
            effective = _effective_blocks(freed, block)
            # One or two blocks may be parts of days, within which rows go their own way; unlike parts make
            # columns go together across them. What is not seen in both views is no change.
            closer = np.abs(within - self.correlations) <= np.abs(correlations - self.correlations)
            correlations = within if window.blocks > _FEW_BLOCKS else np.where(closer, within, correlations)
        # The larger of the two: in a small window the variance may be small by chance.
        sampling = np.maximum(variance, self.variance) * (1.0 / len(scores) + 1.0 / self.rows)
        factor = np.where(self.blocks > 0, 1.0 / effective + 1.0 / np.maximum(self.blocks, 1), 0.0)
        return self._changed(correlations, sampling, self.between * factor)

    def _changed(
        self, correlations: NDArray[np.float64], sampling: NDArray[np.float64], between: NDArray[np.float64]
    ) -> tuple[list[Aspect], int]:
        first, second = np.triu_indices(len(self.names), 1)
        asked = (
            _pairs_asked(self.names, first, second)
            & np.isfinite(correlations)
            & np.isfinite(self.correlations)
        )
        pairs = int(asked.sum())
        gap = np.where(asked, correlations - self.correlations, 0.0)
        found = []
        for index in np.argsort(-np.abs(gap) / np.sqrt(sampling + between + 1e-12), kind="stable")[:5]:
            if gap[index] == 0.0:
                continue
            before, now, added = self.correlations[index], correlations[index], float(between[index])
            part = added / (added + float(sampling[index]) + 1e-300)
            doubt = (float(self.blocks[index]) - 1.0) / (part * part) if part > 0.0 else math.inf
            p = p_difference(float(gap[index]), float(sampling[index]) + added, doubt)
            # A change of r moves r / pi of the rows of two normal columns, to first order.
            effect = abs(float(gap[index])) / math.pi
            names = f"{self.names[first[index]]} and {self.names[second[index]]}"
            found.append(
                Aspect(
                    names,
                    p,
                    effect,
                    1.0,
                    f"{names} go together otherwise: correlation {before:+.2f} before, {now:+.2f} now",
                )
            )
        return found, pairs

    def to_json(self) -> dict[str, Any]:
        return {
            "names": self.names,
            "rows": self.rows,
            "correlations": [
                None if math.isnan(value) else round(float(value), 4) for value in self.correlations
            ],
            "variance": [float(f"{value:.3g}") for value in self.variance],
            "blocks": self.blocks.tolist(),
            "between": [float(f"{value:.2g}") for value in self.between],
            "within_blocks": self.within_blocks,
            "seasons": self.seasons,
            "season_means": [[round(float(value), 3) for value in row] for row in self.season_means],
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Dependence:
        names = list(found["names"])
        return cls(
            names=names,
            rows=found["rows"],
            correlations=np.array(
                [math.nan if value is None else value for value in found["correlations"]], dtype=np.float64
            ),
            variance=np.asarray(found["variance"], dtype=np.float64),
            # An earlier release had one number for all pairs.
            blocks=np.broadcast_to(np.asarray(found["blocks"], dtype=np.int64), len(found["variance"])),
            between=np.asarray(found["between"], dtype=np.float64),
            within_blocks=found["within_blocks"],
            seasons=list(found["seasons"]),
            season_means=np.asarray(found["season_means"], dtype=np.float64).reshape(
                len(found["season_means"]), len(names)
            ),
        )


def sample_of(frame: pl.DataFrame) -> NDArray[np.int64]:
    """Rows to look at: all, or every k-th."""
    return np.arange(0, frame.height, max(1, math.ceil(frame.height / ROWS)))


def _names(columns: Mapping[str, Any]) -> list[str]:
    numbers = [
        name for name, profile in columns.items() if isinstance(profile, NumberProfile) and len(profile.edges)
    ]
    levels = [
        f"{name}={level}"
        for name, profile in columns.items()
        if isinstance(profile, CategoryProfile) and len(profile.levels) > 1
        for level in profile.levels[:_LEVELS]
    ]
    return (numbers + levels)[:_COLUMNS]


def _pairs_asked(names: list[str], first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Levels of one column are dependent by nature: such pairs are left out."""
    owner = np.array(
        [name.split("=", 1)[0] if "=" in name else f"={index}" for index, name in enumerate(names)]
    )
    asked: NDArray[np.bool_] = owner[first] != owner[second]
    return asked


def _scores(frame: pl.DataFrame, columns: Mapping[str, Any], names: list[str]) -> NDArray[np.float64]:
    """[N, D]; a missing value scores 0, the mean."""
    scores = np.zeros((frame.height, len(names)))
    for index, name in enumerate(names):
        column, _, level = name.partition("=") if name not in columns else (name, "", "")
        if column not in frame.columns:
            continue
        profile = columns[column]
        if isinstance(profile, NumberProfile):
            values = as_numbers(frame[column])
            location = scores_of(profile.shares.counts / max(1, profile.shares.present))["location"]
            cell = np.searchsorted(profile.edges, values, side="right")
            scores[:, index] = np.where(is_number(values), location[np.minimum(cell, len(location) - 1)], 0.0)
        else:
            share = profile.shares.counts[profile.levels.index(level)] / max(1, profile.shares.present)
            is_level = (as_texts(frame[column]) == level).cast(pl.Float64)
            scores[:, index] = (is_level - share).fill_null(0.0).to_numpy()
    return scores


def _means(scores: NDArray[np.float64], code: NDArray[np.int64], count: int = 0) -> NDArray[np.float64]:
    """Mean scores [count, D] of the rows of each code."""
    rows = np.maximum(np.bincount(code, minlength=count), 1)
    return np.stack([np.bincount(code, score, count) / rows for score in scores.T], axis=1)


def _correlations(scores: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Upper triangle [P] of the correlations (NaN where a column is constant) and of a row's part in their
    variance, by the delta method: it holds for scores of any shape.
    """
    rows, dimensions = scores.shape
    first, second = np.triu_indices(dimensions, 1)
    deviation = scores - scores.mean(axis=0) if rows else scores
    scale = deviation.std(axis=0) if rows else np.zeros(dimensions)
    constant = scale < 1e-9
    unit = deviation / np.where(constant, 1.0, scale)
    r = unit.T @ unit / max(1, rows)
    square = np.square(unit)
    both, cubed = square.T @ square / max(1, rows), (square * unit).T @ unit / max(1, rows)
    fourth = np.diag(both)
    variance = (
        both - r * (cubed + cubed.T) + np.square(r) / 4.0 * (fourth[:, None] + fourth[None, :] + 2.0 * both)
    )
    r = np.where(constant[:, None] | constant[None, :], math.nan, np.clip(r, -1.0, 1.0))
    floor = np.square(1.0 - np.square(np.nan_to_num(r))) * 0.5
    return r[first, second], np.maximum(variance, floor)[first, second]


def _between(
    scores: NDArray[np.float64],
    correlations: NDArray[np.float64],
    variance: NDArray[np.float64],
    block: NDArray[np.int64] | None,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Blocks that tell of each pair [P] (all 0 if too few have rows), and the variance [P] between their
    correlations.
    """
    nothing = np.zeros(len(correlations), dtype=np.int64), np.zeros(len(correlations))
    if block is None:
        return nothing
    rows = np.bincount(block)
    chosen = np.flatnonzero(rows >= _LEAST_ROWS)
    if len(chosen) < _LEAST_BLOCKS:
        return nothing
    order = np.argsort(block, kind="stable")
    ends = np.cumsum(rows)
    # Around the reference's correlation, not around the blocks' mean: what a single block shows is what a
    # window of one block will show. A block in which a column is constant (a day without fog) says nothing.
    gaps = np.array(
        [
            _correlations(scores[order[ends[code] - rows[code] : ends[code]]])[0] - correlations
            for code in chosen
        ]
    )
    tell = np.isfinite(gaps)
    count = tell.sum(axis=0)
    sampling = variance * float((1.0 / rows[chosen]).mean())
    squares = np.where(tell, np.square(gaps), 0.0).sum(axis=0) / np.maximum(count, 1)
    return count, np.maximum(squares - sampling, 0.0)


def _effective_blocks(scores: NDArray[np.float64], block: NDArray[np.int64]) -> NDArray[np.float64]:
    """How many blocks of equal weight a pair's correlation [P] comes from: 1 where both columns move in one
    block only, however many rows the others have. scores: [N, D], freed of their blocks' means.
    """
    first, second = np.triu_indices(scores.shape[1], 1)
    moves = np.sqrt(np.stack([np.bincount(block, np.square(score)) for score in scores.T], axis=1))
    weight = moves[:, first] * moves[:, second]
    total = np.square(weight.sum(axis=0))
    blocks = np.ones(len(total))
    np.divide(total, np.square(weight).sum(axis=0), out=blocks, where=total > 0.0)
    return blocks

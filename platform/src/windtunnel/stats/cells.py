"""Shares of a column's rows over cells, overall, by season, and how they vary between blocks.

A cell is an interval of numbers, a level of a category or a character n-gram. Everything that drift is
measured by is a function of such shares, so a profile of a million rows is a few hundred numbers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from windtunnel.stats.between_blocks import Between, effective_blocks, estimate

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

FINE_SEASONS = 24
"""With more seasons than this (hours of a week) columns get fewer cells, or the profile would grow large and
each season's shares would stand on few rows."""


@dataclass(frozen=True)
class Rows:
    """Which block and season each row of a reference belongs to; codes [N], names of the seasons."""

    count: int
    block: NDArray[np.int64] | None
    season: NDArray[np.int64] | None
    seasons: list[str]

    @property
    def few_cells(self) -> bool:
        """Whether there are so many seasons that columns get few cells."""
        return len(self.seasons) > FINE_SEASONS

    @classmethod
    def of(cls, count: int, blocks: pl.Series | None, seasons: pl.Series | None) -> Rows:
        block, _ = codes_of(blocks)
        season, names = codes_of(None if seasons is None else seasons.cast(pl.String))
        return cls(count, block, season, [str(name) for name in names])

    def take(self, index: NDArray[np.int64]) -> Rows:
        """The same for some of the rows."""
        return Rows(
            len(index),
            None if self.block is None else self.block[index],
            None if self.season is None else self.season[index],
            self.seasons,
        )


@dataclass(frozen=True)
class Window:
    """What the current window's rows are like: how many, in how many blocks, in which seasons (rows each)."""

    rows: int
    blocks: float
    seasons: Mapping[str, int] | None

    @classmethod
    def of(cls, rows: int, blocks: pl.Series | None, seasons: pl.Series | None) -> Window:
        """Without `blocks` the window counts as one block: the most careful reading."""
        mix = None
        if seasons is not None:
            found = seasons.cast(pl.String).drop_nulls().value_counts(name="rows")
            mix = dict(zip(found.to_series(0).to_list(), found["rows"].to_list(), strict=True))
        of_blocks = (
            1.0
            if blocks is None or rows == 0
            else effective_blocks(blocks.value_counts(name="rows")["rows"].to_numpy().astype(np.int64))
        )
        return cls(rows, of_blocks, mix)


@dataclass(frozen=True)
class Expected:
    """What a reference leads to expect of a window with the same seasons, and on how many rows it stands."""

    shares: NDArray[np.float64]
    rows: float
    missing: float
    missing_rows: float


@dataclass(frozen=True)
class SeasonShares:
    """Rows by season and cell: counts [S, B], missing rows [S]."""

    names: list[str]
    counts: NDArray[np.int64]
    missing: NDArray[np.int64]

    def expected(self, mix: Mapping[str, int]) -> Expected | None:
        """The shares of a window with that mix of seasons; None where it has no season of the reference."""
        weight = np.array([float(mix.get(name, 0)) for name in self.names])
        rows = self.counts.sum(axis=1)
        weight[rows == 0] = 0.0
        if weight.sum() == 0.0:
            return None
        weight /= weight.sum()
        by_season = self.counts / np.maximum(rows, 1)[:, None]
        missing_rate = self.missing / np.maximum(rows + self.missing, 1)
        chosen = weight > 0.0
        return Expected(
            shares=weight @ by_season,
            rows=1.0 / float(np.sum(np.square(weight[chosen]) / rows[chosen])),
            missing=float(weight @ missing_rate),
            missing_rows=1.0
            / float(np.sum(np.square(weight[chosen]) / (rows[chosen] + self.missing[chosen]))),
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "names": self.names,
            "counts": [" ".join(map(str, row)) for row in self.counts],
            "missing": " ".join(map(str, self.missing)),
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> SeasonShares:
        return cls(
            names=list(found["names"]),
            counts=np.array([row.split() for row in found["counts"]], dtype=np.int64),
            missing=np.array(found["missing"].split(), dtype=np.int64),
        )


@dataclass(frozen=True)
class Shares:
    """Rows of a reference in each cell [B] and without a value."""

    counts: NDArray[np.int64]
    missing: int
    seasons: SeasonShares | None = None
    between: Between | None = None

    @property
    def present(self) -> int:
        return int(self.counts.sum())

    @property
    def missing_share(self) -> float:
        return self.missing / max(1, self.present + self.missing)

    def expected(self, mix: Mapping[str, int] | None) -> Expected:
        """Shares and missing rate of a window with that mix of seasons (rows of each)."""
        if self.seasons is not None and mix:
            found = self.seasons.expected(mix)
            if found is not None:
                return found
        return Expected(
            shares=self.counts / max(1, self.present),
            rows=float(self.present),
            missing=self.missing_share,
            missing_rows=float(self.present + self.missing),
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "counts": self.counts.tolist(),
            "missing": self.missing,
            "seasons": None if self.seasons is None else self.seasons.to_json(),
            "between": None if self.between is None else self.between.to_json(),
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Shares:
        return cls(
            counts=np.asarray(found["counts"], dtype=np.int64),
            missing=found["missing"],
            seasons=None if found["seasons"] is None else SeasonShares.from_json(found["seasons"]),
            between=None if found["between"] is None else Between.from_json(found["between"]),
        )


def shares_of(
    cell: NDArray[np.int64], cells: int, rows: Rows, scores: Mapping[str, NDArray[np.float64]] | None = None
) -> Shares:
    """Count the rows of a reference, given the cell of each [N]; `cells` itself stands for no value."""
    counts = np.bincount(cell, minlength=cells + 1)
    seasons = None if rows.season is None else _by_season(cell, cells, rows)
    between = None if rows.block is None else _between(cell, cells, rows, scores or {})
    return Shares(counts[:cells], int(counts[cells]), seasons, between)


def _by_season(cell: NDArray[np.int64], cells: int, rows: Rows) -> SeasonShares:
    assert rows.season is not None
    table = _table(rows.season, len(rows.seasons), cell, cells + 1)
    return SeasonShares(rows.seasons, table[:, :cells], table[:, cells])


def _between(
    cell: NDArray[np.int64], cells: int, rows: Rows, scores: Mapping[str, NDArray[np.float64]]
) -> Between | None:
    """Of the cells among rows with a value, with the missing rate as one more contrast."""
    assert rows.block is not None
    blocks = int(rows.block.max(initial=-1)) + 1
    table = _table(rows.block, blocks, cell, cells + 1)
    present = table[:, :cells]
    without = np.stack([present.sum(axis=1), table[:, cells]], axis=1)
    missing = _estimate(without, (cell == cells).astype(np.int64), rows, {})
    missing_variance = 0.0
    if missing is not None and without.sum():
        missing_variance = float(missing.cells[1] * without[:, 1].sum() / without.sum())
    found = _estimate(present, cell, rows, scores)
    return None if found is None else found.with_contrast("missing", missing_variance)


def _estimate(
    counts: NDArray[np.int64],
    cell: NDArray[np.int64],
    rows: Rows,
    scores: Mapping[str, NDArray[np.float64]],
) -> Between | None:
    """Net of seasons, where there are enough blocks of each; of all blocks alike where there are not.

    A week of days by weekday leaves nothing to learn from: the difference of weekdays is then taken for what
    any two days may differ by, which is careful, and not for nothing.
    """
    found = estimate(counts, *_expected(counts, cell, rows), scores)
    if found is None and rows.season is not None:
        found = estimate(counts, *_expected(counts, cell, replace(rows, season=None)), scores)
    return found


def _expected(
    counts: NDArray[np.int64], cell: NDArray[np.int64], rows: Rows
) -> tuple[NDArray[np.float64], float]:
    """Shares [K, B] expected of each block by its seasons, and the freedom that they cost."""
    if rows.season is None:
        return np.broadcast_to(counts.sum(axis=0) / max(1, counts.sum()), counts.shape), 1.0
    assert rows.block is not None
    blocks, cells = counts.shape
    present = cell < cells
    seasons = len(rows.seasons)
    by_season = _table(rows.season[present], seasons, cell[present], cells).astype(np.float64)
    mix = _table(rows.block[present], blocks, rows.season[present], seasons).astype(np.float64)
    of_season, of_block = np.maximum(by_season.sum(axis=1), 1.0), np.maximum(mix.sum(axis=1), 1.0)
    leverage = float((np.square(mix) / of_season / of_block[:, None]).sum())
    return (mix / of_block[:, None]) @ (by_season / of_season[:, None]), leverage


def _table(
    first: NDArray[np.int64], first_count: int, second: NDArray[np.int64], second_count: int
) -> NDArray[np.int64]:
    flat = np.bincount(first * second_count + second, minlength=first_count * second_count)
    return flat.reshape(first_count, second_count).astype(np.int64)


def codes_of(values: pl.Series | None) -> tuple[NDArray[np.int64] | None, list[Any]]:
    """Code of each row [N] in the order of the distinct values, and these; null is a value of its own."""
    if values is None:
        return None, []
    distinct = values.unique().sort()
    codes = values.replace_strict(distinct, pl.Series(range(len(distinct))), return_dtype=pl.Int64)
    return codes.to_numpy(), distinct.to_list()

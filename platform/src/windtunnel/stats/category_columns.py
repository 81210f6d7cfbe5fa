"""Category columns: their profile, and what has changed about them in a window.

A cell for each of the 200 most frequent levels and one for all others. Levels beyond those are remembered by
name, up to 2,000, so that a rare level is not taken for a new one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from windtunnel.stats.aspects import RARE, SINGLE, Aspect, Noise, distribution, missing
from windtunnel.stats.cells import Shares, shares_of
from windtunnel.stats.significance import p_share

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from windtunnel.stats.cells import Expected, Rows, Window

LEVELS = 200
_FEW_LEVELS = 24
_RARE_LEVELS = 2_000
_RARE_SINGLETONS = 0.005
"""Share of rows with a level of their own from which on there will always be new ones."""
_TOLD = 10
_GONE_ROWS = 10.0
"""A level is told as gone where so many rows of it would be expected and none came."""


@dataclass(frozen=True)
class CategoryProfile:
    """levels: the most frequent first, as many as cells but for "all others", if there
    are any the last cell.

    rare: further levels, None where they are too many to remember. singletons: levels seen in one row, whose
    share is what unseen levels may be expected to have (Good and Turing).
    """

    shares: Shares
    levels: list[str]
    rare: list[str] | None
    singletons: int
    kind = "category"

    @property
    def others(self) -> bool:
        """Whether the last cell is that of all others, those never seen among them."""
        return len(self.shares.counts) > len(self.levels)

    @classmethod
    def of(cls, column: pl.Series, rows: Rows) -> CategoryProfile:
        texts = as_texts(column)
        found = counted(texts).sort(["rows", "level"], descending=[True, False])
        levels, most = found["level"].to_list(), _FEW_LEVELS if rows.few_cells else LEVELS
        names, singletons = levels, int((found["rows"] == 1).sum())
        others = len(levels) > most or singletons > _RARE_SINGLETONS * len(texts)
        if others:
            # The most frequent of some rows look more frequent there than they are: half of the rows choose
            # the levels, the other half counts them.
            half = np.arange(len(texts)) % 2 == 1
            chosen = counted(texts.filter(~half)).sort(["rows", "level"], descending=[True, False])
            levels = chosen["level"].head(most).to_list()
            texts, rows = texts.filter(half), rows.take(np.flatnonzero(half))
        rare = sorted({*names} - {*levels})
        cell = texts.replace_strict(
            pl.Series(levels, dtype=pl.String),
            pl.Series(range(len(levels)), dtype=pl.Int64),
            default=len(levels),
            return_dtype=pl.Int64,
        ).to_numpy(writable=True)
        cells = len(levels) + int(others)
        cell[texts.is_null().to_numpy()] = cells
        return cls(
            shares=shares_of(cell, cells, rows),
            levels=levels,
            rare=rare if len(rare) <= _RARE_LEVELS else None,
            singletons=singletons,
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "levels": self.levels,
            "rare": self.rare,
            "singletons": self.singletons,
            "shares": self.shares.to_json(),
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> CategoryProfile:
        rare = found["rare"]
        return cls(
            shares=Shares.from_json(found["shares"]),
            levels=list(found["levels"]),
            rare=None if rare is None else list(rare),
            singletons=found["singletons"],
        )


@dataclass(frozen=True)
class CategoryWindow:
    """A window's column beside its profile.

    unseen: rows of levels that the reference never had. compared: rows that are in a cell, all `present` ones
    where there is a cell for all others.
    """

    profile: CategoryProfile
    absent: int
    unseen: Mapping[str, int]
    expected: Expected
    noise: Noise
    current: NDArray[np.float64]
    present: int
    compared: int

    @classmethod
    def of(cls, profile: CategoryProfile, column: pl.Series, window: Window) -> CategoryWindow:
        texts = as_texts(column)
        found = counted(texts)
        rows = dict(zip(found["level"].to_list(), found["rows"].to_list(), strict=True))
        counts = [rows.pop(level, 0) for level in profile.levels]
        present = len(texts) - texts.null_count()
        if profile.others:
            counts.append(present - sum(counts))
        rare = {*(profile.rare or ())}
        unseen = {} if profile.rare is None else {name: n for name, n in rows.items() if name not in rare}
        compared = sum(counts)
        expected = profile.shares.expected(window.seasons)
        noise = Noise.of(profile.shares, expected, window, compared)
        current = np.array(counts, dtype=np.float64) / max(1, compared)
        return cls(profile, texts.null_count(), unseen, expected, noise, current, present, compared)

    @property
    def rows(self) -> int:
        return self.present + self.absent

    def with_unseen(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Reference and current shares with a cell for levels that are new, where all others have none."""
        part = self.compared / max(1, self.present)
        return np.append(self.expected.shares, 0.0), np.append(self.current * part, 1.0 - part)

    def new_categories(self) -> list[tuple[str, float]]:
        """Levels that the reference never had with their share of the window, most frequent first."""
        ordered = sorted(self.unseen.items(), key=lambda item: (-item[1], item[0]))[:_TOLD]
        return [(name, count / max(1, self.present)) for name, count in ordered]

    def gone_categories(self) -> list[tuple[str, float]]:
        """Levels with no row in the window, where some were to be expected, and their share before."""
        shares = self.expected.shares[: len(self.profile.levels)]
        gone = (self.current[: len(shares)] == 0.0) & (shares * self.present >= _GONE_ROWS)
        return [(self.profile.levels[index], float(shares[index])) for index in np.flatnonzero(gone)[:_TOLD]]

    def aspects(self, window: Window) -> Iterator[Aspect]:
        """Everything asked of this column; of a column without values, only whether they are missing."""
        shares = self.profile.shares
        yield missing(self.expected, window, self.absent, self.noise)
        if not self.present or not shares.present:
            return
        yield self._new()
        if self.compared:
            yield distribution(self.expected.shares, self.current, self.noise, self._by_name())
            yield self._level()

    def _by_name(self) -> NDArray[np.int64]:
        """Cells in an order that has nothing to do with their rows; all others last."""
        order = sorted(range(len(self.profile.levels)), key=lambda index: self.profile.levels[index])
        return np.array([*order, *range(len(order), len(self.current))], dtype=np.int64)

    def _new(self) -> Aspect:
        rows = sum(self.unseen.values())
        share = rows / self.present
        before = self.profile.singletons
        # With a cell for all others only half of the reference's rows were counted.
        seen = self.profile.shares.present * (2 if self.profile.others else 1)
        p = p_share(rows, self.present, max(1, before), seen) if rows else 1.0
        excess = max(0.0, share - before / max(1, seen))
        told = ", ".join(f"{name!r} {part:.1%}" for name, part in self.new_categories()[:3])
        return Aspect(
            "new", p, excess, RARE, f"{share:.1%} of the rows have values never seen before: {told}"
        )

    def _level(self) -> Aspect:
        """The level whose share changed most beyond chance; every level asked counts."""
        reference, current = self.expected.shares, self.current
        added = self.noise.of_cells(reference)
        sampling = np.maximum(reference, current) * self.noise.rows
        deviance = np.abs(current - reference) / np.sqrt(np.maximum(sampling + added, 1e-18))
        index = int(np.argmax(deviance))
        here, there = self.noise.current_rows, self.noise.reference_rows
        doubt = self.noise.doubt(float(sampling[index]), float(added[index]))
        p = p_share(current[index] * here, here, reference[index] * there, there, float(added[index]), doubt)
        p = min(1.0, p * len(reference))
        name = (
            repr(self.profile.levels[index]) if index < len(self.profile.levels) else "rare values together"
        )
        text = f"{name} makes up {current[index]:.1%} of the rows ({reference[index]:.1%} before)"
        return Aspect("level", p, abs(float(current[index] - reference[index])), SINGLE, text)


def as_texts(column: pl.Series) -> pl.Series:
    return column if column.dtype == pl.String else column.cast(pl.String)


def counted(texts: pl.Series) -> pl.DataFrame:
    """Distinct values and their rows (columns level, rows), null left out."""
    # Not value_counts, which numbers all rows first: twice the time and thirty bytes a row.
    lazy = texts.alias("level").to_frame().lazy().drop_nulls().group_by("level")
    return lazy.agg(pl.len().cast(pl.Int64).alias("rows")).collect(engine="streaming")


def mean_length(texts: pl.Series) -> float:
    """Characters of a value on average; NaN where there is none."""
    found = texts.str.len_chars().mean()
    return float(found) if isinstance(found, int | float) else math.nan

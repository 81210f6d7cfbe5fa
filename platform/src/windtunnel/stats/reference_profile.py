"""The reference profile of a frame: what its columns looked like, in a few hundred numbers each.

Small enough to be read and kept beside every bundle; `drift.compare` measures current windows against it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from windtunnel.errors import DataError
from windtunnel.stats.category_columns import CategoryProfile
from windtunnel.stats.cells import Rows
from windtunnel.stats.dependence import Dependence, sample_of
from windtunnel.stats.number_columns import NumberProfile
from windtunnel.stats.text_columns import TextProfile, is_text

if TYPE_CHECKING:
    from collections.abc import Mapping

ColumnProfile = NumberProfile | CategoryProfile | TextProfile
_KINDS: dict[str, type[ColumnProfile]] = {
    kind.kind: kind for kind in (NumberProfile, CategoryProfile, TextProfile)
}


@dataclass(frozen=True)
class FrameProfile:
    """Profiles by column, and of how the columns go together.

    seasons: names of the seasons that rows were told apart by, empty where they were not.
    """

    rows: int
    columns: Mapping[str, ColumnProfile]
    dependence: Dependence
    seasons: list[str]

    def to_json(self) -> dict[str, Any]:
        return {
            "rows": self.rows,
            "seasons": self.seasons,
            "columns": {name: profile.to_json() for name, profile in self.columns.items()},
            "dependence": self.dependence.to_json(),
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> FrameProfile:
        return cls(
            rows=found["rows"],
            columns={
                name: _KINDS[column["kind"]].from_json(column) for name, column in found["columns"].items()
            },
            dependence=Dependence.from_json(found["dependence"]),
            seasons=list(found["seasons"]),
        )


def profile_frame(
    frame: pl.DataFrame, blocks: pl.Series | None = None, seasons: pl.Series | None = None
) -> FrameProfile:
    """Profile every column of a reference: numbers and booleans, categories, texts.

    blocks: [N] the day (or hour) of each row, whose order is that of time: rows of one day are not
    independent, and windows are judged by how much days differ among themselves. seasons: [N] such as the
    weekday or hour: windows are then compared with reference rows of the same mix of seasons.
    """
    for name, series in (("blocks", blocks), ("seasons", seasons)):
        if series is not None and len(series) != frame.height:
            raise DataError(
                f"{len(series):,} {name} for {frame.height:,} rows",
                where="profile_frame",
                fix=f"give one of the {name} for each row of the frame",
            )
    rows = Rows.of(frame.height, blocks, seasons)
    columns = {column.name: _profile(column, rows) for column in frame.iter_columns()}
    index = sample_of(frame)
    dependence = Dependence.of(frame[index], columns, rows.take(index))
    return FrameProfile(frame.height, columns, dependence, rows.seasons)


def _profile(column: pl.Series, rows: Rows) -> ColumnProfile:
    if column.dtype.is_numeric() or column.dtype in (pl.Boolean, pl.Null):
        return NumberProfile.of(column, rows)
    if column.dtype in (pl.String, pl.Categorical, pl.Enum):
        texts = column.cast(pl.String)
        return TextProfile.of(texts, rows) if is_text(texts) else CategoryProfile.of(texts, rows)
    raise DataError(
        f"values of type {column.dtype} are neither numbers nor texts",
        where=f"column {column.name}",
        fix="leave the column out, or make a number of it (an hour, an age in seconds)",
    )

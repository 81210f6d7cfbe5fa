"""Entity rows, however they are handed in: pandas, Arrow, polars, or parquet by its path."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa

from windtunnel.errors import DataError, NotFoundError
from windtunnel.features.offline.arrow_types import to_arrow
from windtunnel.features.offline.chunks import chunks
from windtunnel.features.offline.column_types import merged_schema
from windtunnel.features.offline.moments import as_bounds, require_moments
from windtunnel.features.offline.parquet_rows import reading, scan
from windtunnel.features.offline.place import Place

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from windtunnel.features.offline.as_of_join import FeatureRows

MOMENT = "event_timestamp"
_WHERE = "entity rows"


@dataclass(frozen=True)
class EntityRows:
    """`table` comes back as it is, with the features behind it."""

    table: pa.Table
    moment: str
    """The column of moments."""

    @property
    def columns(self) -> list[str]:
        return list(self.table.column_names)

    @cached_property
    def moments(self) -> pl.Series:
        """As timestamps, whatever the column holds."""
        column = self.table.column(self.moment)
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            return _parsed(column, self.moment)
        series = pl.Series(self.moment, pl.from_arrow(column))
        if series.dtype == pl.Null:
            return series.cast(pl.Datetime("us", "UTC"))
        require_moments(series.dtype, self.moment, _WHERE)
        return series

    def bounds(self) -> tuple[datetime, datetime]:
        """The first and the last moment, in UTC, rounded outwards; the epoch twice when there is none."""
        return as_bounds(self.moments)

    def asked(self, keys: Sequence[str]) -> pl.DataFrame:
        """The moments and those columns, for the join."""
        frame = pl.from_arrow(self.table.select(list(dict.fromkeys(keys))))
        assert isinstance(frame, pl.DataFrame)
        return frame.with_columns(self.moments)


def read_entity_rows(given: Any, repo_path: Path | str | None) -> EntityRows:
    """`given` as a table, and which of its columns holds the moments.

    That is `event_timestamp`, or else the only timestamp. Raises DataError.
    """
    table = _table(given, repo_path)
    names = table.column_names
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"there are two columns {twice[0]!r}", where=_WHERE, fix="rename one of them")
    if MOMENT in names:
        return EntityRows(table, MOMENT)
    stamps = [field.name for field in table.schema if pa.types.is_timestamp(field.type)]
    if len(stamps) != 1:
        raise DataError(
            f"there is no column {MOMENT!r} and {'no' if not stamps else 'more than one'} other timestamp",
            where=_WHERE,
            fix=f"name the column of moments {MOMENT!r}",
        )
    return EntityRows(table, stamps[0])


def _table(given: Any, repo_path: Path | str | None) -> pa.Table:
    if isinstance(given, pa.Table):
        return given
    if isinstance(given, pa.RecordBatch):
        return pa.Table.from_batches([given])
    if isinstance(given, pl.LazyFrame):
        given = given.collect()
    if isinstance(given, pl.DataFrame):
        return to_arrow(given)
    if isinstance(given, str | Path):
        return _stored(str(given), repo_path)
    if type(given).__module__.startswith("pandas"):
        return _from_pandas(given)
    raise DataError(
        f"they are {type(given).__name__}",
        where=_WHERE,
        fix="pass a pandas DataFrame, an Arrow table, a polars DataFrame, or the path of parquet files",
    )


def _stored(given: str, repo_path: Path | str | None) -> pa.Table:
    remote = given.startswith(("s3://", "file://"))
    uri = given if remote or repo_path is None else str(Path(repo_path) / given)
    place = Place(uri)
    try:
        rows = scan(place)
    except NotFoundError as error:
        raise DataError(
            f"there is no parquet at {given[:200]!r}",
            where=_WHERE,
            fix="pass a path or s3:// URI of parquet files (this store runs no SQL)",
        ) from error
    with reading(place):
        return to_arrow(rows.collect())


def _from_pandas(given: Any) -> pa.Table:
    try:
        return pa.Table.from_pandas(given, preserve_index=False)
    except (pa.ArrowException, ValueError, TypeError) as error:
        raise DataError(
            f"they cannot become an Arrow table: {error}",
            where=_WHERE,
            fix="give each column one name and one type",
        ) from error


def _parsed(column: Any, name: str) -> pl.Series:
    import pandas as pd

    try:
        moments = pd.to_datetime(column.to_pandas(), utc=True, format="ISO8601")
    except (ValueError, TypeError) as error:
        raise DataError(
            f"column {name!r} holds text that is no timestamp: {error}",
            where=_WHERE,
            fix="make it a timestamp, or ISO 8601 text",
        ) from error
    return pl.Series(name, pl.from_arrow(pa.array(moments)))


def entities_between(views: Sequence[FeatureRows], first: datetime, last: datetime) -> EntityRows:
    """The entities that have feature rows in [first, last], asked at `last`: one row for each.

    Views with other join keys add rows of their own, in which the keys of the others are null.
    """
    parts = [_entities(view, first, last) for view in views if view.keys]
    types = merged_schema({part.name: part.keys.schema for part in parts})
    keys = pl.concat(
        [
            part.keys.with_columns(
                pl.col(name).cast(types[name])
                if name in part.keys.columns
                else pl.lit(None, dtype).alias(name)
                for name, dtype in types.items()
            ).select(list(types))
            for part in parts
        ]
        or [pl.DataFrame()]
    ).unique(maintain_order=True)
    if not keys.width:
        keys = pl.DataFrame({MOMENT: [last]})
    moments = pl.lit(last).cast(pl.Datetime("us", "UTC")).alias(MOMENT)
    return EntityRows(to_arrow(keys.with_columns(moments)), MOMENT)


@dataclass(frozen=True)
class _Entities:
    name: str
    keys: pl.DataFrame


def _entities(view: FeatureRows, first: datetime, last: datetime) -> _Entities:
    """The distinct keys of rows in [first, last], named as the entity rows name them."""
    schema = view.schema()
    stored = list(dict.fromkeys(view.keys.values()))
    found = pl.DataFrame(schema={name: schema[name] for name in stored})
    for chunk in chunks(view.rows.select(*stored, view.event_timestamp).filter(view.within(first, last))):
        found = pl.concat([found, chunk.rows.select(stored)]).drop_nulls().unique(maintain_order=True)
    return _Entities(view.name, found.select(pl.col(old).alias(new) for new, old in view.keys.items()))

"""Add rows to parquet feature rows, as Feast's `write_to_offline_store` and push sources do.

A directory gets one file per UTC day of the rows, `<day>_<number>_<digest>.parquet`: the number keeps later
writes behind earlier ones in storage order, so that of two rows with the same timestamps the later written
counts, and readers know from the name which day is in it. A batch that was written before is recognised by
its digest and not written again, so a retry adds nothing. A source that is a single file is rewritten with
the rows behind its own, and remembers the digests of its batches.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from windtunnel.digests import digest
from windtunnel.errors import DataError, NotFoundError
from windtunnel.features.offline.moments import require_moments, to_integer

if TYPE_CHECKING:
    from windtunnel.features.offline.place import Place
    from windtunnel.objects import ObjectStore

_BATCHES = b"windtunnel.batches"
_NUMBERED = re.compile(r"\d{4}-\d\d-\d\d_(\d+)_([0-9a-f]+)\.parquet")
_DAY = 86_400_000_000


def write_rows(place: Place, table: pa.Table, event_timestamp: str) -> list[str]:
    """Add the rows; returns the names of new files. Raises DataError for rows that have no day."""
    table = table.replace_schema_metadata(None).combine_chunks()
    store, file = place.folder()
    if file:
        return _extend(store, file, table)
    days = _days(table, event_timestamp, place)
    present = [entry.key for entry in store.list()]
    written = []
    for day in days.unique().sort():
        part = table.filter(pa.array((days == day).to_list()))
        data = _bytes(part)
        mark = digest(data).removeprefix("sha256:")[:16]
        known = [found for key in present if (found := _of_day(key, str(day)))]
        if any(found[2] == mark for found in known):
            continue
        number = max((int(found[1]) for found in known), default=0) + 1
        key = f"{day}_{number:06d}_{mark}.parquet"
        store.put(key, data)
        written.append(key)
    return written


def _of_day(key: str, day: str) -> re.Match[str] | None:
    found = _NUMBERED.fullmatch(key.rpartition("/")[2])
    return found if found and found[0].startswith(day) else None


def _days(table: pa.Table, event_timestamp: str, place: Place) -> pl.Series:
    """The UTC day of each row."""
    if event_timestamp not in table.column_names:
        raise DataError(f"there is no column {event_timestamp!r} to write by", where=place.uri)
    moments = pl.Series(pl.from_arrow(table.column(event_timestamp)))
    require_moments(moments.dtype, event_timestamp, place.uri)
    if moments.null_count():
        raise DataError(
            f"column {event_timestamp!r} is null in {moments.null_count()} rows",
            where=place.uri,
            fix="leave such rows out: no question is ever joined with them",
        )
    nanoseconds = isinstance(moments.dtype, pl.Datetime) and moments.dtype.time_unit == "ns"
    whole = to_integer(moments, "ns") // 1_000 if nanoseconds else to_integer(moments, "us")
    return (whole // _DAY).cast(pl.Int32).cast(pl.Date)


def _extend(store: ObjectStore, key: str, table: pa.Table) -> list[str]:
    mark = digest(_bytes(table)).encode()
    try:
        stored = pq.read_table(pa.BufferReader(store.get(key)))
    except NotFoundError:
        stored = None
    batches = [] if stored is None else json.loads((stored.schema.metadata or {}).get(_BATCHES, b"[]"))
    if mark.decode() in batches:
        return []
    if stored is not None:
        table = pa.concat_tables([stored.replace_schema_metadata(None), _like(table, stored.schema, key)])
    metadata = {_BATCHES: json.dumps([*batches, mark.decode()]).encode()}
    store.put(key, _bytes(table.replace_schema_metadata(metadata)))
    return [key]


def _like(table: pa.Table, schema: pa.Schema, where: str) -> pa.Table:
    try:
        return table.select(schema.names).cast(schema.remove_metadata())
    except (pa.ArrowException, KeyError, ValueError) as error:
        raise DataError(f"the rows do not fit the file: {error}", where=where) from error


def _bytes(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return bytes(sink.getvalue())

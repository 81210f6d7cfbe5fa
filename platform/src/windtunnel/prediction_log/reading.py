"""Reads the prediction log: a window of it as frames, or one prediction by its id."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

import polars as pl

from windtunnel.errors import DataError, NotFoundError, RequestError
from windtunnel.prediction_log import columns
from windtunnel.prediction_log.checks import check_schema, check_values
from windtunnel.prediction_log.ids import parse_id
from windtunnel.prediction_log.keys import PREDICTIONS, SCORES, hour_folder, hour_folders
from windtunnel.prediction_log.range_file import RangeFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from datetime import datetime

    from windtunnel.objects import Entry, ObjectStore

_Result = TypeVar("_Result")

_AT_ONCE: Final = 8
"""Files that are read at a time."""


@dataclass(frozen=True, kw_only=True)
class LoggedRow:
    """One row of one request, as one model answered it; the fields are the log's columns."""

    prediction_id: str
    row: int
    time: datetime
    version: str
    digest: str
    role: columns.Role
    key: str | None
    entities: dict[str, str | int] | None
    event_time: datetime | None
    features: dict[str, float | None]
    """In the model's order."""
    missing: int
    stale: bool | None
    prediction: float
    latency_seconds: float | None
    """None of a batch prediction."""
    writer: str
    object_key: str
    """The object that the row was read from."""


def scan(
    store: ObjectStore,
    lifecycle: str,
    start: datetime,
    end: datetime,
    wanted: Sequence[str] | None = None,
    folder: str = PREDICTIONS,
) -> Iterator[pl.DataFrame]:
    """Predictions made from `start` until before `end`, file by file, each of one version; `wanted` names
    the columns (default: all). Batch scoring's are in the folder SCORES.

    Files of one version have one schema, those of two may differ in `features` and `entities`. Raises
    RequestError for a moment without a time zone or an unknown column, DataError for a file that is none of
    the log's, StoreError.
    """
    for moment in (start, end):
        if moment.tzinfo is None:
            raise RequestError(f"{moment.isoformat()} has no time zone", where="prediction log")
    chosen = list(columns.COLUMNS if wanted is None else wanted)
    if unknown := [name for name in chosen if name not in columns.COLUMNS]:
        raise RequestError(
            f"the log has no column {', '.join(unknown)}",
            where="prediction log",
            fix=f"choose among {', '.join(columns.COLUMNS)}",
        )
    within = pl.col(columns.TIME).is_between(start.astimezone(UTC), end.astimezone(UTC), closed="left")
    asked = list(dict.fromkeys([*chosen, columns.TIME]))
    for hour in hour_folders(lifecycle, start, end, folder):
        for frame in _each(store.list(hour), partial(_read, store, asked)):
            rows = frame.filter(within).select(chosen)
            if rows.height:
                yield rows


def read(
    store: ObjectStore,
    lifecycle: str,
    start: datetime,
    end: datetime,
    wanted: Sequence[str] | None = None,
    folder: str = PREDICTIONS,
) -> dict[str, pl.DataFrame]:
    """As `scan`, all in memory: one frame for each bundle, by its digest."""
    asked = None if wanted is None else list(dict.fromkeys([*wanted, columns.DIGEST]))
    parts: dict[str, list[pl.DataFrame]] = {}
    for frame in scan(store, lifecycle, start, end, asked, folder):
        part = frame if wanted is None else frame.select(wanted)
        parts.setdefault(frame[columns.DIGEST][0], []).append(part)
    return {digest: pl.concat(frames) for digest, frames in parts.items()}


def find(store: ObjectStore, prediction_id: str, lifecycle: str | None = None) -> list[LoggedRow]:
    """All rows of a prediction, of serving's or of batch scoring's: who answered first, then shadows; without
    a lifecycle all are looked through.

    Empty when it was not logged (yet), was left out by sampling, or has been swept. Of each file of its hour
    only the end is read, and of those that may hold it the row groups that do. Raises RequestError when this
    is no id, StoreError.
    """
    wanted = parse_id(prediction_id)
    names = [lifecycle] if lifecycle is not None else store.folders()
    entries = [
        entry
        for name in names
        for folder in (PREDICTIONS, SCORES)
        for entry in store.list(hour_folder(name, wanted.time, folder))
    ]
    found = [row for rows in _each(entries, partial(_find, store, wanted.text)) for row in rows]
    return sorted(found, key=lambda row: (columns.ROLES.index(row.role), row.version, row.row))


def _each(entries: Iterable[Entry], act: Callable[[Entry], _Result | None]) -> Iterator[_Result]:
    """What `act` makes of each file of the log, several at a time, in order; what has been swept meanwhile is
    left out."""
    files = [entry for entry in entries if entry.key.endswith(".parquet")]
    with ThreadPoolExecutor(max_workers=_AT_ONCE, thread_name_prefix="read") as pool:
        for begin in range(0, len(files), _AT_ONCE):
            for result in pool.map(partial(_unless_gone, act), files[begin : begin + _AT_ONCE]):
                if result is not None:
                    yield result


def _unless_gone(act: Callable[[Entry], _Result | None], entry: Entry) -> _Result | None:
    import pyarrow as pa

    try:
        return act(entry)
    except NotFoundError:
        return None
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        # broken pages are OSErrors of pyarrow's, broken names and moments errors of Python's
        raise DataError(
            f"this is no file of a prediction log: {str(error).partition(chr(10))[0]}",
            where=entry.key,
            fix="move it elsewhere",
        ) from error


def _read(store: ObjectStore, asked: list[str], entry: Entry) -> pl.DataFrame:
    frame = pl.from_arrow(_open(store, entry).read(columns=asked))
    assert isinstance(frame, pl.DataFrame)
    return frame.select(asked)


def _find(store: ObjectStore, wanted: str, entry: Entry) -> list[LoggedRow]:
    import pyarrow.compute as pc

    file = _open(store, entry)
    groups = [at for at in range(file.num_row_groups) if _may_hold(file.metadata.row_group(at), wanted)]
    if not groups:
        return []
    table = file.read_row_groups(groups)
    found = table.filter(pc.equal(table[columns.PREDICTION_ID], wanted)).select(columns.COLUMNS)
    check_values(found, entry.key)
    return [LoggedRow(**row, object_key=entry.key) for row in found.to_pylist()]


def _open(store: ObjectStore, entry: Entry) -> Any:
    import pyarrow.parquet as pq

    file = pq.ParquetFile(RangeFile(store, entry.key, entry.size))
    check_schema(file.schema_arrow, entry.key)
    return file


def _may_hold(row_group: Any, wanted: str) -> bool:
    ids = row_group.column(0).statistics
    return ids is None or not ids.has_min_max or bool(ids.min <= wanted <= ids.max)

"""Makes a file of the prediction log from records; in the writer's process only, which alone pays for Arrow.

The columns are those of windtunnel.prediction_log.columns, by arro3: parquet in a tenth of pyarrow's memory.
"""

from __future__ import annotations

import io
from array import array
from itertools import chain, repeat
from operator import ne
from typing import TYPE_CHECKING, Any, Final

from arro3.core import Array, DataType, Field, Schema, Table, struct_array
from arro3.io import write_parquet

from windtunnel.prediction_log import columns
from windtunnel.prediction_log.columns import ROLES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from windtunnel.serving.log_records import Head, Record

_FLOAT: Final = DataType.float64()
_INT: Final = DataType.int32()
_TEXT: Final = DataType.utf8()
_BOOL: Final = DataType.bool()
_MOMENT: Final = DataType.timestamp("us", tz="UTC")
_ROW_GROUP: Final = 16_384
"""Rows that are looked at together when one prediction is sought."""


def to_parquet(head: Head, records: Sequence[Record], writer: str) -> bytes:
    """One file. Raises whatever a record that is none leads to."""
    counts = [len(record.predictions) for record in records]
    rows = sum(counts)

    def each(values: Iterable[Any]) -> list[Any]:
        """One value for each row, of one for each record."""
        return list(chain.from_iterable(map(repeat, values, counts)))

    matrix = array("d")
    for record in records:
        matrix.frombytes(record.matrix)
    features = [matrix[at :: len(head.features)] for at in range(len(head.features))]
    if any(len(column) != rows for column in features):
        raise ValueError(f"{len(matrix)} values are not {len(head.features)} for each of {rows} rows")
    data: dict[str, tuple[Array, bool]] = {
        columns.PREDICTION_ID: _texts(each(record.prediction_id for record in records)),
        columns.ROW: _required(Array(list(chain.from_iterable(map(range, counts))), type=_INT)),
        columns.TIME: _required(_moments(each(_microseconds(record.prediction_id) for record in records))),
        columns.VERSION: _texts([head.version] * rows),
        columns.DIGEST: _texts([head.digest] * rows),
        columns.ROLE: _texts(each(ROLES[record.role] for record in records)),
        columns.KEY: (Array(each(record.key for record in records), type=_TEXT), True),
        columns.ENTITIES: (_entities(head, records, counts), True),
        columns.EVENT_TIME: (_moments(each(map(_event_time, records))), True),
        columns.FEATURES: _required(
            _struct(head.features, [_floats(column) for column in features], [_FLOAT] * len(features))
        ),
        columns.MISSING: _required(Array(_missing(records, counts, matrix, len(features)), type=_INT)),
        columns.STALE: (Array(_stale(records, counts), type=_BOOL), True),
        columns.PREDICTION: _required(
            Array.from_buffer(array("d", chain.from_iterable(record.predictions for record in records)))
        ),
        columns.LATENCY_SECONDS: _required(
            Array.from_buffer(array("d", each(record.latency_seconds for record in records)))
        ),
        columns.WRITER: _texts([writer] * rows),
    }
    fields = [Field(name, column.type, nullable=nullable) for name, (column, nullable) in data.items()]
    table = Table([column for column, _ in data.values()], schema=Schema(fields))
    file = io.BytesIO()
    write_parquet(table, file, compression="zstd(3)", max_row_group_size=_ROW_GROUP)
    return file.getvalue()


def _required(column: Array) -> tuple[Array, bool]:
    return column, False


def _texts(values: list[str]) -> tuple[Array, bool]:
    return Array(values, type=_TEXT), False


def _floats(column: array[float]) -> Array:
    if any(map(ne, column, column)):
        return Array([value if value == value else None for value in column], type=_FLOAT)
    return Array.from_buffer(column)


def _moments(microseconds: list[int | None]) -> Array:
    return Array(microseconds, type=DataType.int64()).cast(_MOMENT)


def _microseconds(prediction_id: str) -> int:
    return int(prediction_id[:8] + prediction_id[9:13], 16) * 1000


def _event_time(record: Record) -> int | None:
    return None if record.event_time is None else round(record.event_time * 1e6)


def _struct(names: Iterable[str], parts: list[Array], kinds: list[DataType], **mask: Array) -> Array:
    fields = [Field(name, kind, nullable=True) for name, kind in zip(names, kinds, strict=True)]
    return struct_array(parts, fields=fields, **mask)


def _entities(head: Head, records: Sequence[Record], counts: list[int]) -> Array:
    if not head.join_keys:
        return Array([None] * sum(counts), type=_TEXT)
    kinds = [_TEXT if kind == "STRING" else DataType.int64() for kind in head.join_keys.values()]
    parts: list[list[str | int | None]] = [[] for _ in kinds]
    absent: list[bool] = []
    for record, rows in zip(records, counts, strict=True):
        absent += repeat(record.entities is None, rows)
        for at, part in enumerate(parts):
            part += repeat(None, rows) if record.entities is None else record.entities[at]
    built = [Array(part, type=kind) for part, kind in zip(parts, kinds, strict=True)]
    return _struct(head.join_keys, built, kinds, mask=Array(absent, type=_BOOL))


def _missing(records: Sequence[Record], counts: list[int], matrix: array[float], width: int) -> list[int]:
    missing: list[int] = []
    for record, rows in zip(records, counts, strict=True):
        if isinstance(record.missing, int):
            missing.append(record.missing)
        elif record.missing is not None:
            missing += array("i", record.missing)
        else:
            begin = len(missing)
            for row in range(begin, begin + rows):
                values = matrix[row * width : (row + 1) * width]
                missing.append(sum(map(ne, values, values)))
    return missing


def _stale(records: Sequence[Record], counts: list[int]) -> list[bool | None]:
    stale: list[bool | None] = []
    for record, rows in zip(records, counts, strict=True):
        if isinstance(record.stale, bytes):
            stale += map(bool, record.stale)
        else:
            stale += repeat(record.stale, rows)
    return stale

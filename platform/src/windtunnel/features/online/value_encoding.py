"""Arrow columns → what Feast stores: Value and Timestamp messages, and the values of an entity key.

Byte for byte what Feast's SDK writes for the same column, nulls included: an empty message, and for a
missing timestamp the number -2^63. The common types are encoded without a loop over rows. Sets (whose order
is that of Python's hashes), maps, structs, JSON (which Feast parses to check it), nested lists and
conversions that only the SDK knows, such as numbers in a String feature, go through the SDK itself.

Where the SDK loses or refuses what Arrow holds, this keeps it: integers above 2^53 in a column that has nulls
(the SDK reads them as floats), nanosecond timestamps in lists (the SDK takes nanoseconds for seconds), nulls
in lists of integers (0), Float32 columns for Float64 features, Arrow maps for Map features, zoned timestamps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from feast.type_map import python_values_to_proto_values

from windtunnel.errors import DataError
from windtunnel.features.online.byte_columns import (
    blank,
    from_matrix,
    from_offsets,
    grouped,
    join,
    lengths_of,
    varints,
    with_length,
)
from windtunnel.features.online.online_layout import NANOS, NULL_UNIX_TIMESTAMP, VALUE_TYPES

if TYPE_CHECKING:
    from feast import ValueType

    from windtunnel.features.online.byte_columns import BoolArray, Int64Array

# Numbers of the fields of feast.types.Value.
_INTEGERS: Final = {"INT32": 3, "INT64": 4, "BOOL": 7, "UNIX_TIMESTAMP": 8}
_FLOATS: Final = {"DOUBLE": 5, "FLOAT": 6}
_TEXTS: Final = {"STRING": 2, "UUID": 36, "TIME_UUID": 37, "DECIMAL": 44}
_BYTES: Final = {"BYTES": 1, "PDF_BYTES": 1, "IMAGE_BYTES": 1}
_LISTS: Final = {
    "BYTES_LIST": 11, "STRING_LIST": 12, "INT32_LIST": 13, "INT64_LIST": 14, "DOUBLE_LIST": 15,
    "FLOAT_LIST": 16, "BOOL_LIST": 17, "UNIX_TIMESTAMP_LIST": 18, "UUID_LIST": 38, "TIME_UUID_LIST": 39,
    "DECIMAL_LIST": 45,
}  # fmt: skip
_VARINT, _FIXED64, _BYTES_FOLLOW, _FIXED32 = 0, 1, 2, 5
"""Protobuf's wire types."""
_ITEMS = b"\x0a"
"""Field 1 of every list message; its items follow as bytes."""
_UNITS: Final = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": NANOS}
_RANGES: Final = {"INT32": (-(2**31), 2**31 - 1), "INT64": (-(2**63), 2**63 - 1)}


@dataclass(frozen=True)
class _Numbers:
    """Values, arbitrary where they are not `known`."""

    values: Any
    known: BoolArray


def encode_values(column: pa.Array | pa.ChunkedArray, kind: ValueType, name: str) -> pa.LargeBinaryArray:
    """A Value message for every row. Raises DataError when `kind` cannot hold what column `name` holds."""
    column, kind_name = _one_array(column), kind.name
    if pa.types.is_null(column.type):
        return pa.array([b""] * len(column), pa.large_binary())
    encoded = None
    if kind_name in _INTEGERS:
        encoded = _integer_values(column, kind_name, name)
    elif kind_name in _FLOATS:
        encoded = _float_values(column, kind_name)
    elif kind_name in _TEXTS or kind_name in _BYTES:
        encoded = _string_values(column, kind_name)
    elif kind_name in _LISTS:
        encoded = _list_values(column, kind_name, name)
    if encoded is None:
        messages = _by_sdk(column, kind, name)
        encoded = pa.array([message.SerializeToString() for message in messages], pa.large_binary())
    return encoded


def encode_key_values(column: pa.Array | pa.ChunkedArray, kind: ValueType, name: str) -> pa.LargeBinaryArray:
    """Type, length and bytes of every row's value in a serialized entity key (version 3). Raises DataError
    for nulls and for types that keys cannot have."""
    column, kind_name = _one_array(column), kind.name
    if kind_name not in VALUE_TYPES:
        raise DataError(
            f"join key {name!r} is {kind_name}, which Feast cannot store",
            where=f"column {name!r}",
            fix=f"one of {', '.join(VALUE_TYPES)}",
        )
    _require_keys(column.null_count, name)
    head = np.array([VALUE_TYPES[kind_name], 0], "<u4")
    if kind_name in ("STRING", "BYTES"):
        bodies = _strings(column, kind_name)
        if bodies is None:
            values = _converted(column, kind, name)
            bodies = pa.array([v.encode() if isinstance(v, str) else v for v in values], pa.large_binary())
        heads = np.empty((len(bodies), 2), "<u4")
        heads[:, 0], heads[:, 1] = head[0], lengths_of(bodies)
        return join(from_matrix(heads.view(np.uint8)), bodies)
    numbers = _integers(column, kind_name, name)
    if numbers is None:
        values = _converted(column, kind, name)
        numbers = _Numbers(np.array(values, np.int64), np.ones(len(values), np.bool_))
    _require_keys(int(np.count_nonzero(~numbers.known)), name)
    body = numbers.values.astype("<i4" if kind_name == "INT32" else "<i8")
    head[1] = body.itemsize
    return join(head.tobytes(), from_matrix(body.view(np.uint8).reshape(len(body), -1)))


def _require_keys(missing: int, name: str) -> None:
    if missing:
        raise DataError(
            f"{missing} rows have no {name!r}",
            where=f"column {name!r}",
            fix="leave out rows without a join key: nothing can ask for them",
        )


def _converted(column: pa.Array, kind: ValueType, name: str) -> list[Any]:
    """Key values of a column of another type."""
    messages = _by_sdk(column, kind, name)
    _require_keys(sum(message.WhichOneof("val") is None for message in messages), name)
    return [getattr(message, f"{kind.name.lower()}_val") for message in messages]


def event_nanos(column: pa.Array | pa.ChunkedArray, name: str) -> tuple[Int64Array, Int64Array]:
    """Whole seconds since 1970 (floored) and the nanoseconds after them. Raises DataError for nulls and for
    what is no timestamp."""
    column = _one_array(column)
    found = None if pa.types.is_integer(column.type) else _seconds(column)
    if found is None or column.null_count:
        what = "has no value in some rows" if found else f"is {column.type}, not a timestamp"
        raise DataError(f"the event timestamp {what}", where=f"column {name!r}")
    return found


def encode_timestamps(seconds: Int64Array, nanos: Int64Array) -> pa.LargeBinaryArray:
    """Timestamp messages; a field that is 0 is left out, as protobuf does."""
    return join(varints(seconds, b"\x08", seconds != 0), varints(nanos, b"\x10", nanos != 0))


def _integer_values(column: pa.Array, kind: str, name: str) -> pa.LargeBinaryArray | None:
    numbers = _integers(column, kind, name)
    if numbers is None:
        return None
    if kind == "UNIX_TIMESTAMP":
        filled = np.where(numbers.known, numbers.values, NULL_UNIX_TIMESTAMP)
        return varints(filled, _tag(_INTEGERS[kind], _VARINT))
    return varints(numbers.values, _tag(_INTEGERS[kind], _VARINT), numbers.known)


def _float_values(column: pa.Array, kind: str) -> pa.LargeBinaryArray | None:
    numbers = _floats(column, kind)
    if numbers is None:
        return None
    width = numbers.values.itemsize
    matrix = np.empty((len(column), 1 + width), np.uint8)
    matrix[:, 0] = _tag(_FLOATS[kind], _FIXED64 if kind == "DOUBLE" else _FIXED32)[0]
    matrix[:, 1:] = numbers.values.view(np.uint8).reshape(-1, width)
    # The SDK takes NaN for a null.
    return from_matrix(matrix, numbers.known & ~np.isnan(numbers.values))


def _string_values(column: pa.Array, kind: str) -> pa.LargeBinaryArray | None:
    bodies = _strings(column, kind)
    if bodies is None:
        return None
    number = _TEXTS.get(kind) or _BYTES[kind]
    return blank(with_length(_tag(number, _BYTES_FOLLOW), bodies), _known(column))


def _list_values(column: pa.Array, kind: str, name: str) -> pa.LargeBinaryArray | None:
    if pa.types.is_fixed_size_list(column.type):
        column = column.cast(pa.list_(column.type.value_type))
    if not (pa.types.is_list(column.type) or pa.types.is_large_list(column.type)):
        return None
    offsets = column.offsets.to_numpy().astype(np.int64)
    items = column.values.slice(offsets[0], offsets[-1] - offsets[0])
    bodies = _list_bodies(items, offsets - offsets[0], kind.removesuffix("_LIST"), name)
    if bodies is None:
        return None
    return blank(with_length(_tag(_LISTS[kind], _BYTES_FOLLOW), bodies), _known(column))


def _list_bodies(items: pa.Array, offsets: Int64Array, kind: str, name: str) -> pa.LargeBinaryArray | None:
    """The list messages (DoubleList, StringList …) of items offsets[i] to offsets[i + 1]."""
    if kind in _FLOATS:
        floats = _floats(items, kind)
        if floats is None:
            return None
        # Arrow gives the SDK NaN for a null in a list of floats, and there it stays.
        filled = np.where(floats.known, floats.values, floats.values.dtype.type(np.nan))
        return _packed(from_offsets(filled, offsets * filled.itemsize))
    if kind in _INTEGERS:
        integers = _integers(items, kind, name, whole_toward_zero=True)
        if integers is None:
            return None
        null = NULL_UNIX_TIMESTAMP if kind == "UNIX_TIMESTAMP" else 0
        return _packed(grouped(varints(np.where(integers.known, integers.values, null)), offsets))
    strings = _strings(items, kind)
    return None if strings is None else grouped(with_length(_ITEMS, strings), offsets)


def _packed(bodies: pa.LargeBinaryArray) -> pa.LargeBinaryArray:
    """A packed repeated field; an empty one is left out."""
    return blank(with_length(_ITEMS, bodies), lengths_of(bodies) > 0)


def _integers(column: pa.Array, kind: str, name: str, *, whole_toward_zero: bool = False) -> _Numbers | None:
    """As int64; None when the SDK has to convert."""
    known = _known(column)
    if kind == "BOOL":
        return _Numbers(_filled(column).astype(np.int64), known) if pa.types.is_boolean(column.type) else None
    if kind == "UNIX_TIMESTAMP":
        found = _seconds(column)
        if found is None:
            return None
        seconds, nanos = found
        # The SDK floors a column's timestamps, but cuts those in lists.
        return _Numbers(seconds + ((seconds < 0) & (nanos > 0)) if whole_toward_zero else seconds, known)
    if pa.types.is_floating(column.type):
        floats = _filled(column).astype(np.float64)
        known = known & ~np.isnan(floats)
        whole = np.trunc(np.where(known, floats, 0.0))
        _require_range(whole.min(initial=0), whole.max(initial=0), kind, name)
        return _Numbers(whole.astype(np.int64), known)
    if not pa.types.is_integer(column.type):
        return None
    values = _filled(column)
    _require_range(int(values.min(initial=0)), int(values.max(initial=0)), kind, name)
    return _Numbers(values.astype(np.int64), known)


def _require_range(smallest: float, largest: float, kind: str, name: str) -> None:
    low, high = _RANGES[kind]
    # 2.0**63 is the first float that int64 cannot hold.
    if smallest < low or largest > high or largest == 2.0**63:
        found = smallest if smallest < low else largest
        raise DataError(
            f"{found} does not fit {kind}",
            where=f"column {name!r}",
            fix="declare a wider type" if kind == "INT32" else "correct the values",
        )


def _floats(column: pa.Array, kind: str) -> _Numbers | None:
    """As float64 or float32."""
    if not (pa.types.is_floating(column.type) or pa.types.is_integer(column.type)):
        return None
    with np.errstate(over="ignore"):
        values = np.ascontiguousarray(_filled(column), "<f8" if kind == "DOUBLE" else "<f4")
    return _Numbers(values, _known(column))


def _strings(column: pa.Array, kind: str) -> pa.LargeBinaryArray | None:
    """As bytes, empty where null."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    text = any(is_text(column.type) for is_text in (pa.types.is_string, pa.types.is_large_string, _is_view))
    if kind in _BYTES:
        binary = pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type)
        if not (binary or pa.types.is_fixed_size_binary(column.type) or pa.types.is_binary_view(column.type)):
            return None
        column = column.cast(pa.large_binary())
    elif text:
        column = column.cast(pa.large_string()).cast(pa.large_binary())
    else:
        return None
    return pc.fill_null(column, b"") if column.null_count else column


def _is_view(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string_view(kind))


def _seconds(column: pa.Array) -> tuple[Int64Array, Int64Array] | None:
    """Whole seconds (floored) and nanoseconds; None for what is no timestamp, date or integer."""
    if pa.types.is_date(column.type):
        column = column.cast(pa.timestamp("s" if pa.types.is_date32(column.type) else "ms"))
    if pa.types.is_timestamp(column.type):
        per_second = _UNITS[column.type.unit]
        values = _filled(column.cast(pa.int64()))
    elif pa.types.is_signed_integer(column.type):
        per_second, values = 1, _filled(column).astype(np.int64)
    else:
        return None
    seconds = values // per_second
    return seconds, (values - seconds * per_second) * (NANOS // per_second)


def _filled(column: pa.Array) -> Any:
    """As numpy, 0 where null."""
    if column.null_count:
        column = pc.fill_null(column, pa.scalar(0).cast(column.type))
    return column.to_numpy(zero_copy_only=False)


def _known(column: pa.Array) -> BoolArray:
    if not column.null_count:
        return np.ones(len(column), np.bool_)
    known: BoolArray = column.is_valid().to_numpy(zero_copy_only=False)
    return known


def _by_sdk(column: pa.Array, kind: ValueType, name: str) -> list[Any]:
    """Value messages as Feast's SDK makes them: of numpy's values as in its own materialization; of Python's
    where it refuses those, and where numpy would have lost the type (zones, maps)."""
    python = kind.name == "ZONED_TIMESTAMP" or _has_map(column.type)
    if not python:
        try:
            return _convert(column.to_numpy(zero_copy_only=False), kind)
        except (ValueError, TypeError, AssertionError, OverflowError):
            python = True
    try:
        return _convert(column.to_pylist(maps_as_pydicts="lossy"), kind)
    except (ValueError, TypeError, AssertionError, OverflowError, KeyError) as error:
        raise DataError(
            f"Feast cannot store {column.type} as {kind.name}: {error}",
            where=f"column {name!r}",
            fix="declare the feature as the type that the column has",
        ) from error


def _convert(values: Any, kind: ValueType) -> list[Any]:
    messages: list[Any] = python_values_to_proto_values(values, kind)
    return messages


def _has_map(kind: pa.DataType) -> bool:
    return bool(pa.types.is_map(kind)) or any(
        _has_map(kind.field(position).type) for position in range(kind.num_fields)
    )


def _tag(number: int, wire: int) -> bytes:
    """The bytes before a field of a message."""
    tag = number << 3 | wire
    return bytes([tag]) if tag < 0x80 else bytes([tag & 0x7F | 0x80, tag >> 7])


def _one_array(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    return column.storage if isinstance(column, pa.ExtensionArray) else column

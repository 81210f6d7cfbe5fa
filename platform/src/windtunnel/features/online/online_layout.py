"""Feast's Redis layout, byte by byte: what the writer writes and the reader reads.

Feast keeps one hash per entity and project: its key is the serialized entity key (version 3) followed by the
project's name; its fields are `_ts:<view>` (a Timestamp message) and murmur3(`<view>:<feature>`) (a Value
message). Views with the same join keys share a hash. Checked against the Feast SDK by tests; neither Feast
nor protobuf is needed here.
"""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, Final

import mmh3

from windtunnel.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

VALUE_TYPES: Final = {"BYTES": 1, "STRING": 2, "INT32": 3, "INT64": 4, "UNIX_TIMESTAMP": 8}
"""feast.types.ValueType.Enum of the types that join keys may have."""

INT32_TAG: Final = 0x18
INT64_TAG: Final = 0x20
DOUBLE_TAG: Final = 0x29
FLOAT_TAG: Final = 0x35
BOOL_TAG: Final = 0x38
UNIX_TIMESTAMP_TAG: Final = 0x40
"""First byte of a Value message: its field's number and wire type."""
_INTEGER_TAGS: Final = frozenset((INT32_TAG, INT64_TAG, BOOL_TAG, UNIX_TIMESTAMP_TAG))
NULL_TAG: Final = b"\x98\x01"
NULL_UNIX_TIMESTAMP: Final = -(2**63)
"""What Feast's SDK writes for a missing timestamp; for every other null it writes an empty message."""

NANOS: Final = 1_000_000_000
"""Nanoseconds in a second."""
_WHERE: Final = "online store"
_float64: Final = struct.Struct("<xd").unpack
_float32: Final = struct.Struct("<xf").unpack
_TWO_LENGTHS: Final = struct.Struct("<II")
_INTEGERS: Final = {
    "INT32": (struct.Struct("<IIi").pack, 4),
    "INT64": (struct.Struct("<IIq").pack, 8),
    "UNIX_TIMESTAMP": (struct.Struct("<IIq").pack, 8),
}
"""Type → (packs type, length and value, length)."""


def entity_key_head(join_keys: Sequence[str]) -> bytes:
    """The part of a serialized entity key that only depends on the (sorted) names of the join keys."""
    parts = [struct.pack("<I", len(join_keys))]
    for name in join_keys:
        encoded = name.encode()
        parts.append(_TWO_LENGTHS.pack(VALUE_TYPES["STRING"], len(encoded)) + encoded)
    return b"".join(parts)


def entity_value(value: str | int | bytes, kind: str) -> bytes:
    """One value of a serialized entity key: type, length, bytes. `kind` is of VALUE_TYPES; a UNIX_TIMESTAMP
    is in whole seconds. Raises ValueError for what the type cannot hold."""
    if kind in _INTEGERS:
        pack, length = _INTEGERS[kind]
        try:
            return pack(VALUE_TYPES[kind], length, value)
        except struct.error:
            raise ValueError(f"{value!r} is no {kind}") from None
    encoded = str(value).encode() if kind == "STRING" else bytes(value)  # type: ignore[arg-type]
    return _TWO_LENGTHS.pack(VALUE_TYPES[kind], len(encoded)) + encoded


def entity_key(head: bytes, values: Sequence[bytes], project: bytes) -> bytes:
    """The hash's key; `head` of `entity_key_head`, `values` of `entity_value` in the same order."""
    return b"".join((head, *values, project))


def feature_field(view: str, feature: str) -> bytes:
    """The field of a feature in its entity's hash."""
    return struct.pack("<I", mmh3.hash(f"{view}:{feature}", signed=False))


def timestamp_field(view: str) -> bytes:
    """The field of a view's event timestamp in its entity's hash."""
    return f"_ts:{view}".encode()


def decode_value(value: bytes | None) -> float:
    """A Value message as a float; NaN for absent, empty and null (Feast's SDK writes a null, and NaN too, as
    the empty message). A timestamp is in seconds since 1970. Raises DataError for what is no number, has
    been cut short, or goes on after its end."""
    if not value:
        return math.nan
    tag = value[0]
    try:
        if tag == DOUBLE_TAG:
            return float(_float64(value)[0])
        if tag == FLOAT_TAG:
            return float(_float32(value)[0])
    except struct.error:
        raise _damaged("a feature's value", value) from None
    if tag in _INTEGER_TAGS:
        number = _only(value, 1)
        absent = tag == UNIX_TIMESTAMP_TAG and number == NULL_UNIX_TIMESTAMP
        return math.nan if absent else float(number)
    if value[:2] == NULL_TAG:
        _only(value, 2)
        return math.nan
    raise DataError(
        f"a feature's value is no number (message {value[:4].hex()})",
        where=_WHERE,
        fix="declare the feature as a numeric type and materialize it again",
    )


def decode_timestamp(value: bytes) -> int:
    """A Timestamp message as nanoseconds since 1970; the empty message is 1970 itself. Raises DataError."""
    seconds = nanos = position = 0
    while position < len(value):
        tag = value[position]
        number, position = _varint(value, position + 1)
        if tag == 0x08:
            seconds = _signed(number)
        elif tag == 0x10:
            nanos = number
        else:
            raise _damaged("a view's timestamp", value)
    if nanos >= NANOS:
        raise _damaged("a view's timestamp", value)
    return seconds * NANOS + nanos


def _only(value: bytes, position: int) -> int:
    """The signed number with which the message ends."""
    size = len(value) - position
    if size == 1 and value[-1] < 0x80:
        return value[-1]
    if size == 2 and value[-2] >= 0x80 > value[-1]:
        return value[-2] & 0x7F | value[-1] << 7
    number, end = _varint(value, position)
    if end != len(value):
        raise _damaged("a feature's value", value)
    return _signed(number)


def _varint(value: bytes, position: int) -> tuple[int, int]:
    """(number, position after it)."""
    number = shift = 0
    for at in range(position, min(position + 10, len(value))):
        byte = value[at]
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at + 1
        shift += 7
    raise _damaged("a number", value)


def _signed(number: int) -> int:
    number &= (1 << 64) - 1
    return number - (1 << 64) if number >= 1 << 63 else number


def _damaged(what: str, value: bytes) -> DataError:
    return DataError(
        f"{what} is damaged (message {value[:12].hex()})", where=_WHERE, fix="materialize the view again"
    )

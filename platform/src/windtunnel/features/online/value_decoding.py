"""Many of Feast's Value messages at once, as numbers."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from windtunnel.features.online.online_layout import (
    BOOL_TAG,
    DOUBLE_TAG,
    FLOAT_TAG,
    INT32_TAG,
    INT64_TAG,
    decode_value,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

FloatArray = np.ndarray[Any, np.dtype[np.float64]]
_Bytes = np.ndarray[Any, np.dtype[np.uint8]]
_Indices = np.ndarray[Any, np.dtype[np.intp]]

_double: Final = struct.Struct("<xd").unpack
_FEW: Final = 150
"""Below so many values, one by one is faster."""
_VARINT: Final = 10
"""Most bytes of a varint of 64 bits."""


def decode_values(values: Sequence[bytes | None]) -> FloatArray:
    """What `decode_value` says of each. Raises DataError as it does."""
    if len(values) < _FEW:
        return np.array(decode_few(values), dtype=np.float64)
    result = np.full(len(values), np.nan)
    present = [value or b"" for value in values]
    lengths = np.fromiter(map(len, present), np.intp, len(present))
    content = np.frombuffer(b"".join(present) + bytes(_VARINT + 1), np.uint8)
    starts = np.cumsum(lengths) - lengths
    tags = np.where(lengths > 0, content[starts], 0)
    left = lengths > 0
    for tag, size, kind in ((DOUBLE_TAG, 8, "<f8"), (FLOAT_TAG, 4, "<f4")):
        at = np.flatnonzero((tags == tag) & (lengths == size + 1))
        if len(at):
            result[at] = _gather(content, starts[at] + 1, size).view(kind)[:, 0]
            left[at] = False
    at = np.flatnonzero((tags == INT64_TAG) | (tags == INT32_TAG) | (tags == BOOL_TAG))
    if len(at):
        numbers, whole = _varints(_gather(content, starts[at] + 1, _VARINT), lengths[at] - 1)
        result[at[whole]] = numbers[whole]
        left[at[whole]] = False
    # Nulls, timestamps and what is wrong: rare, or worth a message of its own.
    for position in np.flatnonzero(left):
        result[position] = decode_value(present[position])
    return result


def decode_few(values: Sequence[bytes | None]) -> list[float]:
    """What `decode_value` says of each; doubles are spared the call."""
    try:
        return [
            _double(value)[0] if value and value[0] == DOUBLE_TAG else decode_value(value) for value in values
        ]
    except struct.error:  # one is cut short: let it say so
        return [decode_value(value) for value in values]


def _gather(content: _Bytes, starts: _Indices, size: int) -> _Bytes:
    """[messages, size] bytes from each start."""
    rows: _Bytes = content[starts[:, None] + np.arange(size)]
    return rows


def _varints(rows: _Bytes, lengths: _Indices) -> tuple[FloatArray, np.ndarray[Any, np.dtype[np.bool_]]]:
    """(numbers, which of the messages end where their number does)."""
    last = rows < 0x80
    ends = last.argmax(axis=1) + 1
    whole = last.any(axis=1) & (ends == lengths)
    used = np.arange(_VARINT) < ends[:, None]
    digits = np.where(used, rows & 0x7F, 0).astype(np.uint64) << (7 * np.arange(_VARINT, dtype=np.uint64))
    return digits.sum(axis=1, dtype=np.uint64).view(np.int64).astype(np.float64), whole

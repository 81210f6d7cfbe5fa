"""Columns of byte strings, built without a loop over rows: what protobuf messages and Redis commands are made
of.

A column is a `pyarrow.LargeBinaryArray` without nulls. Numbers are written through a matrix of bytes with one
row per value; joining rows is Arrow's work.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

Int64Array = np.ndarray[Any, np.dtype[np.int64]]
BoolArray = np.ndarray[Any, np.dtype[np.bool_]]
ByteMatrix = np.ndarray[Any, np.dtype[np.uint8]]

_NOTHING = pa.scalar(b"", pa.large_binary())


def from_matrix(matrix: ByteMatrix, keep: BoolArray | None = None) -> pa.LargeBinaryArray:
    """One string per row of [rows, width]; the empty string where `keep` is false."""
    rows, width = matrix.shape
    if keep is None or keep.all():
        offsets = np.arange(rows + 1, dtype=np.int64) * width
    else:
        matrix = matrix[keep]
        offsets = offsets_of(keep.astype(np.int64) * width)
    return from_offsets(matrix, offsets)


def from_offsets(data: Any, offsets: Int64Array) -> pa.LargeBinaryArray:
    """The strings data[offsets[i]:offsets[i + 1]] of a contiguous buffer."""
    return pa.LargeBinaryArray.from_buffers(
        pa.large_binary(),
        len(offsets) - 1,
        [None, pa.py_buffer(np.ascontiguousarray(offsets)), pa.py_buffer(np.ascontiguousarray(data))],
    )


def offsets_of(lengths: Int64Array) -> Int64Array:
    """Where each string begins, and where the last one ends."""
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def lengths_of(column: pa.LargeBinaryArray) -> Int64Array:
    found: Int64Array = np.diff(offsets_in(column))
    return found


def offsets_in(column: pa.LargeBinaryArray) -> Int64Array:
    """The offsets that Arrow keeps, of this slice; they need not begin at 0."""
    offsets = np.frombuffer(column.buffers()[1], np.int64, len(column) + 1, column.offset * 8)
    return offsets


def data_of(column: pa.LargeBinaryArray) -> memoryview:
    """The buffer that `offsets_in` points into."""
    buffer = column.buffers()[2]
    return memoryview(buffer if buffer is not None else b"")


def join(*parts: pa.LargeBinaryArray | bytes) -> pa.LargeBinaryArray:
    """Row by row, one after the other; a bytes object stands in every row."""
    merged: list[pa.LargeBinaryArray | bytes] = []
    for part in parts:
        if merged and isinstance(part, bytes) and isinstance(merged[-1], bytes):
            merged[-1] += part
        else:
            merged.append(part)
    scalars = [pa.scalar(part, pa.large_binary()) if isinstance(part, bytes) else part for part in merged]
    return pc.binary_join_element_wise(*scalars, _NOTHING)


def blank(column: pa.LargeBinaryArray, keep: BoolArray) -> pa.LargeBinaryArray:
    """The empty string where `keep` is false."""
    return column if keep.all() else pc.if_else(pa.array(keep), column, _NOTHING)


def varints(values: Int64Array, prefix: bytes = b"", keep: BoolArray | None = None) -> pa.LargeBinaryArray:
    """Protobuf's variable-length integers, each after `prefix`; the empty string where `keep` is false."""
    numbers = values.view(np.uint64)
    sizes = np.ones(len(values), np.int64)
    for bits in range(7, 64, 7):
        sizes += numbers >= np.uint64(1 << bits)
    width, head = int(sizes.max(initial=1)), len(prefix)
    matrix = np.empty((len(values), head + width), np.uint8)
    matrix[:, :head] = np.frombuffer(prefix, np.uint8)
    for at in range(width):
        matrix[:, head + at] = (numbers >> np.uint64(7 * at)).astype(np.uint8) | 0x80
    matrix[np.arange(len(values)), head + sizes - 1] &= 0x7F
    sizes += head
    if keep is not None:
        sizes = np.where(keep, sizes, 0)
    if (sizes == head + width).all():
        return from_matrix(matrix)
    used = np.arange(head + width) < sizes[:, None]
    return from_offsets(matrix[used], offsets_of(sizes))


def with_length(prefix: bytes, bodies: pa.LargeBinaryArray) -> pa.LargeBinaryArray:
    """A protobuf field of a length and its bytes: prefix, length, body."""
    return join(varints(lengths_of(bodies), prefix), bodies)


def grouped(column: pa.LargeBinaryArray, offsets: Int64Array) -> pa.LargeBinaryArray:
    """Strings offsets[i] to offsets[i + 1] as one, without copying."""
    return from_offsets(data_of(column), offsets_in(column)[offsets])

"""Polars frames as Arrow tables in the types that Feast knows (`string`, not `large_string`)."""

from __future__ import annotations

from typing import Any

import polars as pl
import pyarrow as pa

Type = Any
"""A pyarrow.DataType: pyarrow publishes no types."""


def to_arrow(frame: pl.DataFrame) -> pa.Table:
    """The frame in Arrow's small types."""
    table = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
    columns = [_cast(column, plain_type(column.type)) for column in table.columns]
    return pa.Table.from_arrays(columns, names=table.column_names)


def plain_type(dtype: Type) -> Type:
    """The type with 32-bit offsets and without dictionaries, all the way down."""
    if pa.types.is_large_string(dtype) or pa.types.is_string_view(dtype):
        return pa.string()
    if pa.types.is_large_binary(dtype) or pa.types.is_binary_view(dtype):
        return pa.binary()
    if pa.types.is_dictionary(dtype):
        return plain_type(dtype.value_type)
    if pa.types.is_large_list(dtype):
        return pa.list_(plain_type(dtype.value_type))
    if pa.types.is_fixed_size_list(dtype):
        return pa.list_(plain_type(dtype.value_type), dtype.list_size)
    if pa.types.is_map(dtype):
        return pa.map_(plain_type(dtype.key_type), plain_type(dtype.item_type))
    if pa.types.is_struct(dtype):
        return pa.struct([field.with_type(plain_type(field.type)) for field in dtype])
    return dtype


def _cast(column: Any, dtype: Type) -> Any:
    return column if column.type == dtype else column.cast(dtype)

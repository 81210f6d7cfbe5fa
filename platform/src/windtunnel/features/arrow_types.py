"""Polars frames as Arrow tables in the types that Feast knows (`string`, not `large_string`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Mapping

Type = Any
"""A pyarrow.DataType: pyarrow publishes no types."""


def to_arrow(frame: pl.DataFrame, maps: Mapping[str, Type] | None = None) -> pa.Table:
    """The frame with Arrow's small types; `maps` says which columns are maps (polars has no such type)."""
    table = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
    columns = [
        _as_map(column, maps[field.name])
        if maps and field.name in maps
        else _cast(column, plain_type(field.type))
        for field, column in zip(table.schema, table.columns, strict=True)
    ]
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
    if pa.types.is_struct(dtype):
        return pa.struct([field.with_type(plain_type(field.type)) for field in dtype])
    return dtype


def is_entries(dtype: pl.DataType) -> bool:
    """Whether a map, as polars reads it, could look like this."""
    inner = dtype.inner if isinstance(dtype, pl.List) else None
    return isinstance(inner, pl.Struct) and [field.name for field in inner.fields] == ["key", "value"]


def _cast(column: Any, dtype: Type) -> Any:
    return column if column.type == dtype else column.cast(dtype)


def _as_map(column: Any, dtype: Type) -> Any:
    entries = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    known = entries.values
    small = entries.offsets.cast(pa.int32())
    return pa.chunked_array(
        [
            pa.MapArray.from_arrays(
                small,
                _cast(known.field(0), dtype.key_type),
                _cast(known.field(1), dtype.item_type),
                type=dtype,
                mask=entries.is_null() if entries.null_count else None,
            )
        ]
    )

"""Join keys of two sides brought to one type, so that equal values are equal whatever stores them.

A null equals nothing, and neither does NaN, which is how pandas writes a missing number.
"""

from __future__ import annotations

import polars as pl

from windtunnel.errors import DataError

_TEXT = (pl.String, pl.Categorical, pl.Enum)
_MOMENT = (pl.Datetime,)


def common_key_type(left: pl.DataType, right: pl.DataType) -> pl.DataType | None:
    """The type in which values of both are compared; None when no value of one can equal one of the other."""
    if left == pl.Null or right == pl.Null:
        other = right if left == pl.Null else left
        return pl.Int64() if other == pl.Null else common_key_type(other, other)
    for both in (_numbers, _decimals, _moments):
        found = both(left, right)
        if found is not None:
            return found
    if isinstance(left, _TEXT) and isinstance(right, _TEXT):
        return pl.String()
    return left if left == right and not left.is_nested() and left != pl.Object else None


def _numbers(left: pl.DataType, right: pl.DataType) -> pl.DataType | None:
    if left.is_integer() and right.is_integer():
        return left if left == right else pl.Int64()
    if left.is_float() and right.is_float():
        return pl.Float64()
    # A column of integers in which pandas has a hole is one of floats.
    return pl.Int64() if {_kind(left), _kind(right)} == {"integer", "float"} else None


def _decimals(left: pl.DataType, right: pl.DataType) -> pl.DataType | None:
    scales = [dtype.scale for dtype in (left, right) if isinstance(dtype, pl.Decimal)]
    if not scales or not all(isinstance(t, pl.Decimal) or t.is_integer() for t in (left, right)):
        return None
    return pl.Decimal(38, max(scales))


def _moments(left: pl.DataType, right: pl.DataType) -> pl.DataType | None:
    if isinstance(left, pl.Datetime) and isinstance(right, pl.Datetime):
        return pl.Datetime("ns" if "ns" in (left.time_unit, right.time_unit) else "us")
    return None


def _kind(dtype: pl.DataType) -> str:
    return "integer" if dtype.is_integer() else "float" if dtype.is_float() else ""


def as_key(column: pl.Series, dtype: pl.DataType) -> pl.Series:
    """The column in the type of `common_key_type`; what cannot be expressed in it equals nothing: null."""
    if column.dtype.is_float():
        column = column.fill_nan(None)
        if dtype.is_float():
            return column.cast(dtype)
        whole = column.set(column.floor().ne_missing(column), None)
        return whole.cast(dtype, strict=False)
    if isinstance(column.dtype, pl.Datetime):
        # Naive is UTC, and the instant is what counts.
        column = (
            column.dt.replace_time_zone(None)
            if column.dtype.time_zone is None
            else (column.dt.convert_time_zone("UTC").dt.replace_time_zone(None))
        )
    return column if column.dtype == dtype else column.cast(dtype, strict=False)


def no_common_type(key: str, left: pl.DataType, right: pl.DataType, view: str) -> DataError:
    return DataError(
        f"join key {key!r} is {left} in the entity rows and {right} in the feature rows",
        where=view,
        fix="bring the entity rows' column to the type of the view's entity",
    )

"""One type for a column that files store in several."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from windtunnel.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping

_TEXT = (pl.String, pl.Categorical, pl.Enum)


def merged_schema(schemas: Mapping[str, Mapping[str, pl.DataType]]) -> dict[str, pl.DataType]:
    """Columns of all files (file → column → type), in the order in which they first occur.

    Raises DataError for a column whose types have nothing in common.
    """
    merged: dict[str, pl.DataType] = {}
    first: dict[str, str] = {}
    for file, schema in schemas.items():
        for name, dtype in schema.items():
            known = merged.setdefault(name, dtype)
            origin = first.setdefault(name, file)
            if known == dtype:
                continue
            wide = merged_type(known, dtype)
            if wide is None:
                raise DataError(
                    f"column {name!r} is {dtype} here and {known} in {origin}",
                    where=file,
                    fix="write one of them again in the type of the other",
                )
            merged[name] = wide
    return merged


def merged_type(left: pl.DataType, right: pl.DataType) -> pl.DataType | None:
    """The smallest type that holds both, None when there is none."""
    if left == right or right == pl.Null:
        return left
    if left == pl.Null:
        return right
    for both in (_numbers, _moments, _lists):
        found = both(left, right)
        if found is not None:
            return found
    return pl.String() if isinstance(left, _TEXT) and isinstance(right, _TEXT) else None


def _numbers(left: pl.DataType, right: pl.DataType) -> pl.DataType | None:
    if left.is_integer() and right.is_integer():
        return pl.Int64()
    if isinstance(left, pl.Decimal) and isinstance(right, pl.Decimal):
        return pl.Decimal(38, max(left.scale, right.scale))
    plain = all(dtype.is_integer() or dtype.is_float() for dtype in (left, right))
    return pl.Float64() if plain else None


def _moments(left: pl.DataType, right: pl.DataType) -> pl.DataType | None:
    both = (left, right)
    if not all(isinstance(dtype, pl.Datetime | pl.Date) for dtype in both):
        return None
    known = [dtype for dtype in both if isinstance(dtype, pl.Datetime)]
    zones = {dtype.time_zone for dtype in known}
    fine = any(dtype.time_unit == "ns" for dtype in known)
    return pl.Datetime("ns" if fine else "us", zones.pop() if len(zones) == 1 else "UTC")


def _lists(left: pl.DataType, right: pl.DataType) -> pl.DataType | None:
    if not (isinstance(left, pl.List) and isinstance(right, pl.List)):
        return None
    inner = merged_type(left.inner, right.inner)  # type: ignore[arg-type]
    return None if inner is None else pl.List(inner)


def as_type(column: str, stored: pl.DataType, wanted: pl.DataType) -> pl.Expr:
    """The column in a type of `merged_type`; a moment stays the same instant (naive is UTC)."""
    expression = pl.col(column)
    if stored == wanted:
        return expression
    if isinstance(wanted, pl.Datetime):
        expression = expression.cast(pl.Datetime(wanted.time_unit, getattr(stored, "time_zone", None)))
        if getattr(stored, "time_zone", None) != wanted.time_zone:
            expression = _in_zone(expression, getattr(stored, "time_zone", None), wanted.time_zone)
        return expression
    return expression.cast(wanted)


def _in_zone(expression: pl.Expr, stored: str | None, wanted: str | None) -> pl.Expr:
    known = expression.dt.replace_time_zone("UTC") if stored is None else expression
    return known.dt.convert_time_zone("UTC" if wanted is None else wanted)

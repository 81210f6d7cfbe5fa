"""Timestamps of any unit and zone as integers that compare exactly. Naive ones are UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal

import polars as pl

from windtunnel.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable

    Unit = Literal["us", "ns"]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LARGEST = 2**63 - 1
_DAY = 86_400_000_000
_PER_US = {"us": 1, "ns": 1_000}


def finest_unit(dtypes: Iterable[pl.DataType]) -> Unit:
    """Microseconds, unless one of the columns has nanoseconds."""
    fine = any(isinstance(dtype, pl.Datetime) and dtype.time_unit == "ns" for dtype in dtypes)
    return "ns" if fine else "us"


def require_moments(dtype: pl.DataType, column: str, where: str) -> None:
    if not isinstance(dtype, pl.Datetime | pl.Date):
        raise DataError(
            f"column {column!r} is {dtype}, not a timestamp",
            where=where,
            fix="store a timestamp; one without a zone is read as UTC",
        )


def to_integer(column: pl.Series, unit: Unit) -> pl.Series:
    """Int64 since the epoch in that unit, which is no coarser than the column's.

    Nanoseconds reach from 1677 to 2262; what lies beyond becomes the first or the last of them.
    """
    dtype = column.dtype
    factor = _DAY * _PER_US[unit] if isinstance(dtype, pl.Date) else _factor(dtype, unit)
    physical = column.to_physical().cast(pl.Int64)
    if factor == 1:
        return physical
    limit = LARGEST // factor
    return physical.clip(-limit, limit) * factor


def _factor(dtype: pl.DataType, unit: Unit) -> int:
    assert isinstance(dtype, pl.Datetime)
    per_second = {"ms": 10**3, "us": 10**6, "ns": 10**9}
    return per_second[unit] // per_second[dtype.time_unit]


def span_of(ttl: timedelta | None, unit: Unit) -> int | None:
    """The ttl as an integer, None when it is none or 0: for ever."""
    if not ttl:
        return None
    microseconds = (ttl.days * 86_400 + ttl.seconds) * 1_000_000 + ttl.microseconds
    return min(microseconds * _PER_US[unit], LARGEST // 2)


def as_us(moment: datetime) -> int:
    """Microseconds since the epoch; a naive moment is UTC."""
    known = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (known - EPOCH) // timedelta(microseconds=1)


def as_bounds(moments: pl.Series) -> tuple[datetime, datetime]:
    """The first and the last of them in UTC, rounded outwards; the epoch twice when there is none."""
    known = to_integer(moments, unit := finest_unit([moments.dtype])).drop_nulls()
    if not known.len():
        return EPOCH, EPOCH
    first, last = int(known.min()), int(known.max())  # type: ignore[arg-type]
    return _datetime(first // _PER_US[unit]), _datetime(-(-last // _PER_US[unit]))


def _datetime(microseconds: int) -> datetime:
    limits = as_us(datetime.min.replace(tzinfo=UTC)), as_us(datetime.max.replace(tzinfo=UTC))
    return EPOCH + timedelta(microseconds=max(limits[0], min(microseconds, limits[1])))


def within(column: str, dtype: pl.DataType, unit: Unit, first: int | None, last: int | None) -> pl.Expr:
    """True where the column is in [first, last], integers of `unit`: a predicate to prune files by."""
    inside = pl.col(column).is_not_null()
    if first is not None:
        inside = pl.col(column) >= _literal(first, dtype, unit, up=True)
    if last is not None:
        before = pl.col(column) <= _literal(last, dtype, unit, up=False)
        inside = before if first is None else inside & before
    return inside


def _literal(value: int, dtype: pl.DataType, unit: Unit, *, up: bool) -> pl.Expr:
    per_day = _DAY * _PER_US[unit]
    if isinstance(dtype, pl.Date):
        whole, rest = divmod(value, per_day)
        days = max(-(2**31), min(whole + (up and rest > 0), 2**31 - 1))
        return pl.lit(days, pl.Int32).cast(pl.Date)
    assert isinstance(dtype, pl.Datetime)
    per_second = {"ms": 10**3, "us": 10**6, "ns": 10**9}
    scaled, rest = divmod(value * per_second[dtype.time_unit], per_second[unit])
    scaled = max(-LARGEST, min(scaled + (up and rest > 0), LARGEST))
    return pl.lit(scaled, pl.Int64).cast(dtype)

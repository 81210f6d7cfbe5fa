"""Check what a user's `transform` returned for a day, and bring it into the form that Feast reads.

The checks are those that keep the future out and every key in: a feature row that is dated before its day
would be joined to questions that came before it.
"""

from __future__ import annotations

import difflib
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

import polars as pl

from windtunnel.errors import DataError
from windtunnel.features.definitions import CREATED, EVENT_TIMESTAMP, LATEST

if TYPE_CHECKING:
    from datetime import date

    from windtunnel.features.definitions import Definitions, View

TIMESTAMP = pl.Datetime("us", "UTC")
# A local day begins at most 14 hours before the UTC day of its name, and ends at most 12 hours after it.
DAY_BEGINS = -timedelta(hours=14)
DAY_ENDS = timedelta(days=1, hours=12)
TYPES: dict[str, Any] = {
    "DOUBLE": pl.Float64, "FLOAT": pl.Float32, "INT64": pl.Int64, "INT32": pl.Int32, "STRING": pl.String,
    "BOOL": pl.Boolean, "UNIX_TIMESTAMP": TIMESTAMP,
}  # fmt: skip


def check_feature_rows(
    returned: Any, day: date, definitions: Definitions, where: str
) -> dict[str, pl.DataFrame]:
    """One frame per view: join keys, features, event_timestamp, created; sorted. Raises DataError.

    `created` is when a row became known. Where `transform` does not say it, that was at event_timestamp: then
    equal partitions give equal bytes, and no row counts as a later correction.
    """
    if not isinstance(returned, dict):
        raise DataError(
            f"it returned {type(returned).__name__} for {day}, not a dict of frames by view", where=where
        )
    views = definitions.views
    for name in sorted(set(returned) - set(views)):
        near = difflib.get_close_matches(name, views, n=1)
        fix = f"did you mean {near[0]!r}?" if near else "name it in spec.features.views, or do not return it"
        raise DataError(
            f"it returned view {name!r} for {day}, which the lifecycle does not have", where=where, fix=fix
        )
    missing = sorted(set(views) - set(returned))
    if missing:
        raise DataError(
            f"it returned no view {missing[0]!r} for {day}",
            where=where,
            fix="return a frame, without rows if need be",
        )
    return {
        name: _check_view(returned[name], day, view, f"{where}, view {name!r}")
        for name, view in views.items()
    }


def _check_view(frame: Any, day: date, view: View, where: str) -> pl.DataFrame:
    if not isinstance(frame, pl.DataFrame):
        raise DataError(f"for {day} it is {type(frame).__name__}, not a polars DataFrame", where=where)
    types = {**view.join_keys, **view.features}
    require_columns(frame, [*types, EVENT_TIMESTAMP], where)
    require_timestamp(frame, where)
    created = _created(frame, where)
    frame = frame.select(
        *(_cast(frame, name, TYPES.get(kind), where) for name, kind in types.items()),
        EVENT_TIMESTAMP,
        created,
    )
    require_values(frame, [*view.join_keys, EVENT_TIMESTAMP], where)
    require_finite(frame, list(view.features), where)
    _check_times(frame, day, where)
    keys = [*view.join_keys, EVENT_TIMESTAMP, CREATED]
    twice = frame.filter(frame.select(keys).is_duplicated())
    if twice.height:
        raise DataError(
            f"{twice.height} rows of {day} share key and event_timestamp, such as {_show(twice, keys[:-1])}",
            where=where,
            fix=f"aggregate to one row per key and moment, or say by {CREATED!r} which became known later",
        )
    checked: pl.DataFrame = frame.sort(keys)
    return checked


def _created(frame: pl.DataFrame, where: str) -> pl.Series:
    when = frame[EVENT_TIMESTAMP]
    if CREATED not in frame.columns or frame.schema[CREATED] == pl.Null:
        return when.alias(CREATED)
    require_timestamp(frame, where, CREATED)
    return frame[CREATED].fill_null(when)


def _check_times(frame: pl.DataFrame, day: date, where: str) -> None:
    midnight = datetime.combine(day, time(), UTC)
    when, created = frame[EVENT_TIMESTAMP], frame[CREATED]
    if when.lt(midnight + DAY_BEGINS).any():
        raise DataError(
            f"a row of {day} has event_timestamp {when.min()!s}, before its day began: the future would leak",
            where=where,
            fix="event_timestamp is when the row was known: never before the data that it is made of",
        )
    if when.gt(midnight + LATEST).any():
        raise DataError(
            f"a row of {day} has event_timestamp {when.max()!s}, more than {LATEST.days} days later",
            where=where,
            fix="check the time zone and the unit",
        )
    early = frame.filter(created < when)
    if early.height:
        raise DataError(
            f"a row of {day} was created at {early[CREATED][0]}, before its event_timestamp "
            f"{early[EVENT_TIMESTAMP][0]}",
            where=where,
            fix=f"{CREATED!r} is when the row became known; leave it null where that was at event_timestamp",
        )
    if created.gt(max(datetime.now(UTC), midnight + LATEST)).any():
        raise DataError(
            f"a row of {day} was created at {created.max()!s}, which is still to come",
            where=where,
            fix="check the time zone and the unit",
        )


def require_columns(frame: pl.DataFrame, names: list[str], where: str) -> None:
    for name in names:
        if name not in frame.columns:
            near = difflib.get_close_matches(name, frame.columns, n=1)
            fix = (
                f"it has {near[0]!r}: rename that?"
                if near
                else f"it has {', '.join(frame.columns) or 'none'}"
            )
            raise DataError(f"there is no column {name!r}", where=where, fix=fix)


def require_timestamp(frame: pl.DataFrame, where: str, name: str = EVENT_TIMESTAMP) -> None:
    dtype = frame.schema[name]
    if dtype != TIMESTAMP:
        raise DataError(
            f"column {name!r} is {dtype}",
            where=where,
            fix="make it Datetime('us', 'UTC'): .dt.convert_time_zone('UTC').dt.cast_time_unit('us')",
        )


def require_values(frame: pl.DataFrame, names: list[str], where: str) -> None:
    for name in names:
        empty = frame[name].null_count()
        if empty:
            raise DataError(
                f"column {name!r} is null in {empty} rows", where=where, fix="leave such rows out"
            )


def require_finite(frame: pl.DataFrame, names: list[str], where: str) -> None:
    """Serving refuses infinite numbers, so no model may learn from them. NaN is a missing value."""
    for name in names:
        if frame.schema[name].is_float() and (infinite := frame[name].is_infinite().sum()):
            raise DataError(
                f"column {name!r} is infinite in {infinite} rows",
                where=where,
                fix="look for a division by zero; null stands for what has no value",
            )


def cast_column(frame: pl.DataFrame, name: str, dtype: Any, where: str) -> pl.Series:
    """The column in another type; raises DataError where a value does not fit."""
    try:
        return frame[name].cast(dtype)
    except pl.exceptions.PolarsError as error:
        raise DataError(
            f"column {name!r} is {frame.schema[name]} and does not fit {dtype}", where=where
        ) from error


def _cast(frame: pl.DataFrame, name: str, dtype: Any, where: str) -> pl.Series:
    if dtype is None:
        return frame[name]
    if dtype == TIMESTAMP:
        require_timestamp(frame, where, name)
        # The online store holds whole seconds; a training set must not know more.
        return frame[name].dt.truncate("1s")
    return cast_column(frame, name, dtype, where)


def _show(frame: pl.DataFrame, keys: list[str]) -> str:
    return ", ".join(f"{name}={value}" for name, value in frame.select(keys).row(0, named=True).items())

"""Labels of logged predictions, as they have come by now: out of the entity rows of the days that they are
about.

A logged row finds its entity row by join keys, event time and request features, or, where the lifecycle names
`label.key`, by the key that the caller gave. Entity rows that nothing tells apart fit nobody, whatever their
labels: to keep those that agree would keep the commoner label. Such rows are counted, and stay without one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, timedelta
from typing import TYPE_CHECKING, Final

import polars as pl

from windtunnel.features.daily import partitions_of
from windtunnel.features.definitions import EVENT_TIMESTAMP, load_definitions
from windtunnel.features.feature_rows import DAY_BEGINS, DAY_ENDS
from windtunnel.features.point_in_time import read_entity_rows
from windtunnel.monitoring.windows import moments
from windtunnel.prediction_log import columns

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from windtunnel.features.point_in_time import FeatureEnv
    from windtunnel.spec.lifecycle import LifecycleSpec

LABEL: Final = "windtunnel_label"
DAY: Final = "windtunnel_day"
"""The day (of entity rows) that a row is about; of rows that found none, the UTC day of its moment."""
FOUND: Final = "windtunnel_found"
"""Whether a row found its entity row, with a label or not yet: its slices are known, be they null."""
SLICE: Final = "windtunnel_slice_"
"""Before the name of a slice column."""
_MOST_DAYS: Final = 400
_AHEAD: Final = 7
"""Days that a question may be asked ahead, where rows are found by their key."""
_MANY, _AT, _PLACE = "windtunnel_many", "windtunnel_moment", "windtunnel_place"


@dataclass(frozen=True)
class Told:
    """What the partitions of some days say: entity rows with their DAY, labels where they are known."""

    rows: pl.DataFrame | None
    complete: date | None
    """As `labels_complete`."""


@dataclass(frozen=True)
class Labelled:
    """The rows as they were given, with LABEL (null: not known), DAY, FOUND and the slices."""

    rows: pl.DataFrame
    matched: int
    """Rows that were FOUND."""
    duplicates: int
    """Rows that several entity rows fitted."""


def labels_complete(env: FeatureEnv) -> date | None:
    """The newest day whose labels have all come, if they come as `label.delayDays` says; None where no
    partition was ever extracted. Raises StoreError.
    """
    return _complete(env, _known_days(env))


def due_day(spec: LifecycleSpec, now: datetime) -> date:
    """The newest day whose labels ought to have come by now."""
    return now.astimezone(UTC).date() - spec.label.on_their_way


def read_told(env: FeatureEnv, rows: pl.DataFrame) -> Told:
    """The entity rows that may be what these rows of the log (their TIME, EVENT_TIME and KEY) asked. Raises
    DataError where the lifecycle's own function returns something else.
    """
    key, asked = env.lifecycle.spec.label.key, moments(rows)
    known = _known_days(env)
    wanted = rows[columns.KEY].drop_nulls().unique() if key else asked.unique()
    parts = []
    for day in _days_about(asked, known, _AHEAD if key else 0):
        told = read_entity_rows(env, day).with_columns(_moment(), pl.lit(day).alias(DAY))
        # of a day with millions of questions only those are kept that were asked
        parts.append(
            told.filter((pl.col(key).cast(pl.String) if key else pl.col(_AT)).is_in(wanted.implode()))
        )
    told_rows = pl.concat(parts, how="vertical_relaxed") if parts else None
    return Told(told_rows, _complete(env, known))


def _complete(env: FeatureEnv, known: set[date]) -> date | None:
    return max(known) - timedelta(days=env.lifecycle.spec.label.delay_days) if known else None


def _moment() -> pl.Expr:
    return pl.col(EVENT_TIMESTAMP).dt.convert_time_zone("UTC").dt.cast_time_unit("us").alias(_AT)


def join_labels(env: FeatureEnv, rows: pl.DataFrame, told: Told) -> Labelled:
    """Rows of the log (of one bundle) with what is known of them now."""
    asked = rows.with_columns(moments(rows).alias(_AT))
    if told.rows is None or rows.is_empty():
        return Labelled(_without(asked, env.lifecycle.spec.evaluation.slices).drop(_AT), 0, 0)
    by_key = env.lifecycle.spec.label.key is not None
    joined = _by_key(env, asked, told.rows) if by_key else _by_question(env, asked, told.rows)
    joined = joined.with_columns(pl.col(FOUND, _MANY).fill_null(value=False))
    many, matched = int(joined[_MANY].sum()), int(joined[FOUND].sum())
    joined = joined.with_columns(
        pl.when(_MANY).then(None).otherwise(pl.col(LABEL)).alias(LABEL),
        pl.col(DAY).fill_null(pl.col(_AT).dt.date()),
    )
    return Labelled(joined.drop(_AT, _MANY), matched, many)


def _without(rows: pl.DataFrame, slices: Sequence[str]) -> pl.DataFrame:
    nothing = [pl.lit(None, pl.String).alias(SLICE + name) for name in slices]
    return rows.with_columns(
        pl.lit(None, pl.Float64).alias(LABEL),
        pl.col(_AT).dt.date().alias(DAY),
        pl.lit(value=False).alias(FOUND),
        *nothing,
    )


def _known_days(env: FeatureEnv) -> set[date]:
    """Days that every source was extracted for."""
    name = env.lifecycle.name
    sources = [partitions_of(env.store, name, source).known_days() for source in env.lifecycle.spec.sources]
    return set.intersection(*sources) if sources else set()


def _days_about(asked: pl.Series, known: set[date], ahead: int) -> list[date]:
    """Days whose entity rows may be what was asked about these moments: a local day begins and ends hours
    from its midnight in UTC.
    """
    moments_ = asked.dt.truncate("1h").unique()
    about: set[date] = set()
    for first, last in zip((moments_ - DAY_ENDS).dt.date(), (moments_ - DAY_BEGINS).dt.date(), strict=True):
        about.update(first + timedelta(days=count) for count in range((last - first).days + 1 + ahead))
    return sorted(about & known)[-_MOST_DAYS:]


def _by_key(env: FeatureEnv, rows: pl.DataFrame, told: pl.DataFrame) -> pl.DataFrame:
    key = str(env.lifecycle.spec.label.key)
    named = _answers(env, told.with_columns(pl.col(key).cast(pl.String).alias(columns.KEY)), [columns.KEY])
    return rows.join(named, on=columns.KEY, how="left", maintain_order="left")


def _by_question(env: FeatureEnv, rows: pl.DataFrame, told: pl.DataFrame) -> pl.DataFrame:
    """By entity and moment, and by request features: several questions may be asked of one entity at once."""
    keys = list(load_definitions(env.directory, env.lifecycle).join_keys)
    request = list(env.lifecycle.spec.features.request)
    logged = rows[columns.FEATURES].struct.unnest()
    asked = rows.with_row_index(_PLACE).with_columns(
        *(_number(logged[name]) for name in request if name in logged.columns),
        *_keys_of(rows, keys),
    )
    told = told.with_columns(
        *(_number(told[name]) for name in request if name in logged.columns),
        *(pl.col(key).cast(pl.String).alias(_named(key)) for key in keys),
    )
    numbers = [_named(name) for name in request if name in logged.columns]
    by_entity = asked[columns.ENTITIES].is_not_null() if keys else pl.repeat(False, asked.height, eager=True)
    parts = []
    for chosen, on in ((by_entity, [_AT, *map(_named, keys), *numbers]), (~by_entity, [_AT, *numbers])):
        part = asked.filter(chosen)
        if part.height:
            answers = _answers(env, told, on)
            joined = part.join(answers, on=on, how="left", nulls_equal=True, maintain_order="left")
            parts.append(joined.drop([_named(name) for name in (*keys, *request)], strict=False))
    return pl.concat(parts).sort(_PLACE).drop(_PLACE)


def _answers(env: FeatureEnv, told: pl.DataFrame, on: list[str]) -> pl.DataFrame:
    """One row for each question: its label, day and slices, and whether several labels fit."""
    spec = env.lifecycle.spec
    label = pl.col(spec.label.column)
    return told.group_by(on).agg(
        label.first().alias(LABEL),
        pl.col(DAY).first(),
        pl.lit(value=True).alias(FOUND),
        (pl.len() > 1).alias(_MANY),
        *(pl.col(name).first().cast(pl.String).alias(SLICE + name) for name in spec.evaluation.slices),
    )


def _number(values: pl.Series) -> pl.Series:
    """A request feature as a key: callers may send single precision."""
    return values.cast(pl.Float32).fill_nan(None).alias(_named(values.name))


def _keys_of(rows: pl.DataFrame, keys: Sequence[str]) -> list[pl.Series]:
    nothing = pl.repeat(None, rows.height, dtype=pl.String, eager=True)
    entities = rows[columns.ENTITIES]
    known = entities.struct.unnest() if isinstance(entities.dtype, pl.Struct) else pl.DataFrame()
    return [
        (known[key] if key in known.columns else nothing).cast(pl.String).alias(_named(key)) for key in keys
    ]


def _named(name: str) -> str:
    return f"windtunnel_on_{name}"

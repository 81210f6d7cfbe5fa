"""What a day asks (entity rows), joined with the features that were known at each moment."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, Protocol

import polars as pl

from windtunnel.errors import DataError
from windtunnel.features.daily import days_between, feature_rows_of, partitions_of, span
from windtunnel.features.definitions import EVENT_TIMESTAMP, FOREVER, LATEST, load_definitions
from windtunnel.features.engines import feature_engine
from windtunnel.features.feature_rows import (
    DAY_BEGINS,
    DAY_ENDS,
    TYPES,
    cast_column,
    require_columns,
    require_finite,
    require_timestamp,
    require_values,
)  # fmt: skip
from windtunnel.features.feature_store import open_feature_store, quiet
from windtunnel.usercode import load_object

if TYPE_CHECKING:
    from datetime import date
    from pathlib import Path

    from windtunnel.features.daily import Sidecar
    from windtunnel.features.definitions import Definitions
    from windtunnel.objects import ObjectStore
    from windtunnel.settings import Settings
    from windtunnel.spec.lifecycle import Lifecycle


class FeatureEnv(Protocol):
    """What is needed of a stage's environment."""

    @property
    def store(self) -> ObjectStore: ...
    @property
    def lifecycle(self) -> Lifecycle: ...
    @property
    def directory(self) -> Path: ...
    @property
    def work(self) -> Path: ...
    @property
    def settings(self) -> Settings: ...


_ROW = "windtunnel_row"


def read_entity_rows(env: FeatureEnv, day: date) -> pl.DataFrame:
    """What is asked on `day`: join keys, event_timestamp, request features (float64), slices, the column that
    `label.key` names, label.

    Rows are in the order of the user's function; a source in quarantine has no rows for it. The label is
    float64, null where it is not known. Raises DataError.
    """
    spec = env.lifecycle.spec
    definitions = load_definitions(env.directory, env.lifecycle)
    window = days_between(day, day + timedelta(days=spec.label.delay_days))
    partitions = {
        source: partitions_of(env.store, env.lifecycle.name, source).rows(window) for source in spec.sources
    }
    rows = load_object(env.directory, spec.label.rows)(partitions, day)
    return _check(rows, day, definitions, env)


def entity_columns(definitions: Definitions, env: FeatureEnv) -> dict[str, pl.DataType | None]:
    """Columns of entity rows in order, with their type; None keeps the user's."""
    spec = env.lifecycle.spec
    columns = {key: TYPES[kind] for key, kind in definitions.join_keys.items()}
    columns[EVENT_TIMESTAMP] = None
    columns |= dict.fromkeys(spec.features.request, pl.Float64())
    for name in (*spec.evaluation.slices, *([spec.label.key] if spec.label.key else [])):
        columns.setdefault(name, None)
    columns[spec.label.column] = pl.Float64()
    return columns


def _check(rows: pl.DataFrame, day: date, definitions: Definitions, env: FeatureEnv) -> pl.DataFrame:
    spec = env.lifecycle.spec
    where = f"{spec.label.rows} for {day}"
    if not isinstance(rows, pl.DataFrame):
        raise DataError(f"it returned {type(rows).__name__}, not a polars DataFrame", where=where)
    columns = entity_columns(definitions, env)
    require_columns(rows, list(columns), where)
    require_timestamp(rows, where)
    require_values(rows, [*definitions.join_keys, EVENT_TIMESTAMP], where)
    when, midnight = rows[EVENT_TIMESTAMP], datetime.combine(day, time(), UTC)
    if when.ge(midnight + DAY_ENDS).any():
        raise DataError(
            f"a row asks at {when.max()!s}, after the day: its label would come from the future",
            where=where,
            fix="return the rows of that day only",
        )
    if when.lt(midnight + DAY_BEGINS).any():
        raise DataError(
            f"a row asks at {when.min()!s}, before the day",
            where=where,
            fix="return the rows of that day only",
        )
    rows = rows.select(
        rows[name] if dtype is None else cast_column(rows, name, dtype, where)
        for name, dtype in columns.items()
    )
    require_finite(rows, list(spec.features.request), where)
    _check_label(rows[spec.label.column], spec.label.kind, where)
    return rows


def _check_label(label: pl.Series, kind: str, where: str) -> None:
    known = label.drop_nulls()
    if kind == "binary" and not known.is_in([0.0, 1.0]).all():
        raise DataError(f"label {label.name!r} holds values other than 0 and 1", where=where)
    if not known.is_finite().all():
        raise DataError(
            f"label {label.name!r} holds NaN or infinity", where=where, fix="unknown labels are null"
        )


def feature_files(env: FeatureEnv, first: date, last: date) -> dict[str, dict[date, Sidecar]]:
    """Per served view, the feature files that moments of [first, last] may be joined with."""
    definitions = load_definitions(env.directory, env.lifecycle)
    found = {}
    for name in dict.fromkeys(view for view, _ in definitions.served):
        files = feature_rows_of(env.store, env.lifecycle.name, name)
        oldest = first - (definitions.views[name].ttl or FOREVER) - LATEST
        days = {day for day in files.known_days() if oldest <= day <= last + timedelta(days=1)}
        if not days:
            raise DataError(
                f"view {name!r} has no feature rows for {span(days_between(first, last))}",
                where=env.store.uri(files.prefix),
                fix="run the features stages for those days first",
            )
        found[name] = files.sidecars(days)
    return found


def point_in_time(env: FeatureEnv, rows: pl.DataFrame) -> pl.DataFrame:
    """`rows` (as `read_entity_rows` makes them) with the stored features that were known at each moment.

    Every row comes back, in order. Features are float64 in the order of the feature service, null where none
    was known or it had expired; their defaults are the model's matter (`registry.snapshots.to_inputs`). A
    feature row counts from when it was created, so a late correction does not reach back.
    """
    definitions = load_definitions(env.directory, env.lifecycle)
    names = [feature for _, feature in definitions.served]
    if rows.is_empty():
        return rows.with_columns(pl.lit(None, pl.Float64).alias(name) for name in names)
    moments = rows[EVENT_TIMESTAMP].dt.date()
    files = feature_files(env, moments.min(), moments.max())  # type: ignore[arg-type]
    engine = feature_engine(env.lifecycle.spec.features.engine, env.settings)
    fetched = {
        view: engine.fetch(env.store, env.lifecycle.name, view, sidecars, env.work).files
        for view, sidecars in files.items()
    }
    store = open_feature_store(definitions, env.lifecycle.name, fetched, env.work, engine)
    questions = rows.select([*definitions.join_keys, EVENT_TIMESTAMP]).with_row_index(_ROW)
    join_keys = [list(definitions.views[view].join_keys) for view in files]
    with quiet():
        answers = engine.answers(store, definitions.feast_service.name, questions, join_keys)
    features = answers.sort(_ROW).select(_as_number(answers[name]) for name in names)
    if features.height != rows.height:
        raise DataError(
            f"the join answered {features.height} rows for {rows.height} questions", where="offline store"
        )
    return rows.hstack(features)


def _as_number(column: pl.Series) -> pl.Expr:
    """As the online store answers: a moment in seconds since 1970; NaN is no value."""
    values = pl.col(column.name)
    if isinstance(column.dtype, pl.Datetime):
        values = values.dt.epoch("s")
    return values.cast(pl.Float64).fill_nan(None)

"""Labels find their predictions: by entity, moment and request features, or by the caller's key."""

from __future__ import annotations

import dataclasses
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

import polars as pl
import pytest

from windtunnel.features.daily import partitions_of
from windtunnel.monitoring.labels import DAY, LABEL, SLICE, Told, join_labels, read_told
from windtunnel.spec import load_lifecycle

if TYPE_CHECKING:
    from windtunnel.monitoring.labels import Labelled
    from windtunnel.stages.base import StageEnv

FEATURES = """\
from datetime import timedelta
import pandera.polars as pa
import polars as pl
from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.types import Float64

class Orders(pa.DataFrameModel):
    customer: str

source = FileSource(
    name="rows", path="customer.parquet",
    timestamp_field="event_timestamp", created_timestamp_column="created",
)
customer = Entity(name="customer", join_keys=["customer"], value_type=ValueType.STRING)
view = FeatureView(
    name="customer", entities=[customer], ttl=timedelta(days=3), source=source,
    schema=[Field(name="spend", dtype=Float64)],
)
service = FeatureService(name="demo", features=[view])

def transform(partitions, day): ...

def entity_rows(partitions, day):
    known = partitions["orders"]["day"].max()
    label = pl.when(pl.lit(known) > day).then(pl.col("bought"))
    return partitions["orders"].filter(pl.col("day") == day).with_columns(bought=label)
"""
FIRST = date(2026, 2, 1)
NOON = datetime(2026, 2, 1, 12, tzinfo=UTC)


@pytest.fixture
def env(stage_env: StageEnv) -> StageEnv:
    (stage_env.directory / "features.py").write_text(FEATURES)
    spec = stage_env.directory / "lifecycle.yaml"
    text = spec.read_text().replace(
        "[customer, product], service: demo", "[customer], service: demo, request: [hour]"
    )
    spec.write_text(text + "  evaluation: {slices: [region]}\n")
    return dataclasses.replace(stage_env, lifecycle=load_lifecycle(stage_env.directory))


def by_key(env: StageEnv) -> StageEnv:
    spec = env.directory / "lifecycle.yaml"
    spec.write_text(spec.read_text().replace("kind: binary", "kind: binary, key: order_id"))
    return dataclasses.replace(env, lifecycle=load_lifecycle(env.directory))


def orders(env: StageEnv, day: date, *rows: tuple[str, datetime, float, float]) -> None:
    """Customer, moment, hour and label of each; the order's id is its place on the day."""
    frame = pl.DataFrame(
        rows, schema=["customer", "event_timestamp", "hour", "bought"], orient="row"
    ).with_columns(
        pl.col("event_timestamp").cast(pl.Datetime("us", "UTC")),
        day=pl.lit(day),
        region=pl.lit("north"),
        order_id=pl.format("{}-{}", pl.lit(str(day)), pl.int_range(pl.len())),
    )
    partitions_of(env.store, "demo", "orders").write(day, frame, "test")


def asked(*rows: tuple[str | None, datetime | None, float], key: str | None = None) -> pl.DataFrame:
    """Customer (None: features were sent), event time and the request's hour of each."""
    return pl.DataFrame(
        {
            "time": [NOON] * len(rows),
            "key": pl.Series([key] * len(rows), dtype=pl.String),
            "entities": pl.Series(
                [None if customer is None else {"customer": customer} for customer, *_ in rows],
                dtype=pl.Struct({"customer": pl.String}),
            ),
            "event_time": pl.Series([moment for _, moment, _ in rows], dtype=pl.Datetime("us", "UTC")),
            "features": [{"spend": 1.0, "hour": hour} for *_, hour in rows],
            "prediction": [0.5] * len(rows),
        }
    ).with_columns(pl.col("time").cast(pl.Datetime("us", "UTC")))


def join(env: StageEnv, rows: pl.DataFrame) -> Labelled:
    return join_labels(env, rows, read_told(env, rows))


def labels(env: StageEnv, rows: pl.DataFrame) -> list[float | None]:
    return join(env, rows).rows[LABEL].to_list()


def test_a_row_gets_the_label_of_its_entity_moment_and_request(env: StageEnv) -> None:
    orders(env, FIRST, ("ann", NOON, 9.0, 1.0), ("ann", NOON, 10.0, 0.0), ("bob", NOON, 9.0, 0.0))
    orders(env, FIRST + timedelta(days=1), ("ann", NOON + timedelta(days=1), 9.0, 0.0))
    rows = asked(
        ("ann", NOON, 9.0),
        ("ann", NOON, 10.0),
        ("bob", NOON, 10.0),
        ("ann", NOON + timedelta(seconds=1), 9.0),
        ("eve", NOON, 9.0),
    )
    found = join(env, rows)
    assert found.rows[LABEL].to_list() == [1.0, 0.0, None, None, None]
    assert found.rows[SLICE + "region"].to_list() == ["north", "north", None, None, None]
    assert found.rows[DAY].to_list() == [FIRST] * 5
    assert (found.matched, found.duplicates) == (2, 0)
    assert found.rows.height == rows.height


def test_labels_come_when_their_day_is_over(env: StageEnv) -> None:
    orders(env, FIRST, ("ann", NOON, 9.0, 1.0))
    rows = asked(("ann", NOON, 9.0))
    told = read_told(env, rows)
    assert told.complete == FIRST - timedelta(days=1)
    found = join_labels(env, rows, told)
    assert (found.rows[LABEL].to_list(), found.matched) == ([None], 1)
    orders(env, FIRST + timedelta(days=1), ("bob", NOON + timedelta(days=1), 9.0, 1.0))
    assert labels(env, rows) == [1.0]
    assert read_told(env, rows).complete == FIRST


def test_questions_that_nothing_tells_apart_get_no_label_though_they_agree(env: StageEnv) -> None:
    """Those that agree are mostly of the commoner label: to keep them would make it commoner still."""
    orders(
        env,
        FIRST,
        ("ann", NOON, 9.0, 1.0), ("ann", NOON, 9.0, 0.0), ("bob", NOON, 9.0, 1.0), ("bob", NOON, 9.0, 1.0),
    )  # fmt: skip
    orders(env, FIRST + timedelta(days=1), ("x", NOON + timedelta(days=1), 9.0, 1.0))
    found = join(env, asked(("ann", NOON, 9.0), ("bob", NOON, 9.0)))
    assert found.rows[LABEL].to_list() == [None, None]
    assert (found.matched, found.duplicates) == (2, 2)


def test_of_a_day_only_what_was_asked_is_kept(env: StageEnv) -> None:
    orders(env, FIRST, ("ann", NOON, 9.0, 1.0), ("bob", NOON + timedelta(hours=1), 9.0, 1.0))
    told = read_told(env, asked(("ann", NOON, 9.0)))
    assert told.rows is not None
    assert told.rows["customer"].to_list() == ["ann"]


def test_no_rows_have_no_labels(env: StageEnv) -> None:
    """Right after a promotion only the version before has answered."""
    orders(env, FIRST, ("ann", NOON, 9.0, 1.0))
    rows = asked(("ann", NOON, 9.0))
    found = join_labels(env, rows.clear(), read_told(env, rows))
    assert (found.rows.height, found.matched) == (0, 0)
    assert {LABEL, DAY, SLICE + "region"} <= set(found.rows.columns)


def test_features_that_were_sent_are_matched_by_moment_and_request_alone(env: StageEnv) -> None:
    orders(env, FIRST, ("ann", NOON, 9.0, 1.0), ("bob", NOON, 10.0, 0.0))
    orders(env, FIRST + timedelta(days=1), ("x", NOON + timedelta(days=1), 9.0, 1.0))
    assert labels(env, asked((None, NOON, 10.0), ("ann", NOON, 9.0), (None, NOON, 11.0))) == [0.0, 1.0, None]


def test_single_precision_of_a_caller_is_forgiven(env: StageEnv) -> None:
    orders(env, FIRST, ("ann", NOON, 0.1, 1.0))
    orders(env, FIRST + timedelta(days=1), ("x", NOON + timedelta(days=1), 9.0, 1.0))
    assert labels(env, asked(("ann", NOON, 0.10000000149011612))) == [1.0]


def test_by_the_callers_key_whatever_else_was_sent(env: StageEnv) -> None:
    env = by_key(env)
    orders(env, FIRST, ("ann", NOON, 9.0, 1.0), ("bob", NOON, 9.0, 0.0))
    orders(env, FIRST + timedelta(days=1), ("x", NOON + timedelta(days=1), 9.0, 1.0))
    rows = asked((None, None, 1.0), key=f"{FIRST}-1")
    assert labels(env, rows) == [0.0]
    assert labels(env, asked((None, None, 1.0), key="unknown")) == [None]
    assert labels(env, asked(("ann", NOON, 9.0))) == [None], "no key was given"


def test_a_key_is_found_on_the_days_that_a_question_may_be_asked_ahead_of(env: StageEnv) -> None:
    env = by_key(env)
    late = FIRST + timedelta(days=5)
    for day in (late, late + timedelta(days=1)):
        orders(env, day, ("ann", datetime(day.year, day.month, day.day, 9, tzinfo=UTC), 9.0, 1.0))
    assert labels(env, asked((None, None, 1.0), key=f"{late}-0")) == [1.0]


def test_a_local_day_that_crosses_midnight_in_utc_is_looked_through(env: StageEnv) -> None:
    evening = datetime(2026, 2, 2, 3, tzinfo=UTC)  # 10 pm of the first, in New York
    orders(env, FIRST, ("ann", evening, 22.0, 1.0))
    orders(env, FIRST + timedelta(days=1), ("x", evening + timedelta(days=1), 9.0, 1.0))
    found = join(env, asked(("ann", evening, 22.0)))
    assert found.rows[LABEL].to_list() == [1.0]
    assert found.rows[DAY].to_list() == [FIRST], "the day of the entity rows, not that of UTC"


def test_without_any_partition_nothing_has_a_label(env: StageEnv) -> None:
    rows = asked(("ann", NOON, 9.0))
    assert read_told(env, rows) == Told(None, None)
    found = join(env, rows)
    assert (found.rows[LABEL].to_list(), found.matched) == ([None], 0)
    assert found.rows[SLICE + "region"].to_list() == [None]

"""Every kind of number that a model may read is the same online as in a training set: no skew by encoding."""

from __future__ import annotations

import asyncio
import math
import sys
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis_process import redis_process
from synthetic_flights import edit, make_env, reloaded, run_stage

from windtunnel.features.daily import feature_rows_of
from windtunnel.features.definitions import load_definitions
from windtunnel.features.describe import describe_online
from windtunnel.features.feature_rows import check_feature_rows
from windtunnel.features.online.online_reader import OnlineReader, OnlineView
from windtunnel.features.online.redis_address import RedisAddress
from windtunnel.features.online.redis_connection import RedisConnection
from windtunnel.features.point_in_time import point_in_time
from windtunnel.registry.snapshots import to_inputs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from windtunnel.stages.base import StageEnv

FEATURES = """\
from datetime import timedelta
import pandera.polars as pa
from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.types import Bool, Float32, Float64, Int32, Int64, UnixTimestamp

class Flights(pa.DataFrameModel): ...
class Weather(pa.DataFrameModel): ...
def transform(partitions, day): ...
def entity_rows(partitions, day): ...

TYPES = {
    "double": Float64, "single": Float32, "long": Int64, "int": Int32, "bool": Bool, "moment": UnixTimestamp
}
shop = Entity(name="shop", join_keys=["shop"], value_type=ValueType.STRING)
item = Entity(name="item", join_keys=["item"], value_type=ValueType.INT64)
things = FeatureView(
    name="things", entities=[item, shop], ttl=timedelta(hours=30),
    schema=[Field(name=name, dtype=dtype) for name, dtype in TYPES.items()],
    source=FileSource(name="rows", path="x.parquet", timestamp_field="event_timestamp"),
)
tags = {"default.int": "-7", "default.moment": "1.5"}
service = FeatureService(name="flight_delay", features=[things], tags=tags)
"""
NAMES = ["double", "single", "long", "int", "bool", "moment"]
COLUMNS = {
    "shop": pl.String, "item": pl.Int64, "double": pl.Float64, "single": pl.Float32, "long": pl.Int64,
    "int": pl.Int32, "bool": pl.Boolean, "moment": pl.Datetime("us", "UTC"),
    "event_timestamp": pl.Datetime("us", "UTC"),
}  # fmt: skip
DAY = date(2026, 3, 2)
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
SHOPS, ITEMS = ["", "a", "ünï\x00cø"], [0, -1, 2**63 - 1]

moments = st.datetimes(datetime(1950, 1, 1), datetime(2200, 1, 1)).map(lambda m: m.replace(tzinfo=UTC))
values = st.fixed_dictionaries(
    {
        "double": st.none() | st.floats(allow_infinity=False),
        "single": st.none() | st.floats(width=32, allow_infinity=False),
        "long": st.none() | st.integers(-(2**63), 2**63 - 1),
        "int": st.none() | st.integers(-(2**31), 2**31 - 1),
        "bool": st.none() | st.booleans(),
        "moment": st.none() | moments,
    }
)
keys = st.tuples(st.sampled_from(SHOPS), st.sampled_from(ITEMS))


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StageEnv]:
    with redis_process() as port:
        env = make_env(tmp_path_factory.mktemp("kinds"), online=f"redis://127.0.0.1:{port}/0", days=[])
        (env.directory / "features.py").write_text(FEATURES)
        edit(env.directory / "lifecycle.yaml", {"[route, carrier, airport_hour, weather]": "[things]"})
        sys.modules.pop("features", None)
        yield reloaded(env)


@settings(
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(rows=st.dictionaries(st.tuples(keys, st.integers(0, 3)), values, max_size=8), after=st.integers(0, 40))
def test_a_number_is_the_same_online_as_offline(
    env: StageEnv, rows: dict[tuple[tuple[str, int], int], dict[str, Any]], after: int
) -> None:
    """Asked at a moment after all rows, of every key, known or not."""
    with closing(redis.Redis.from_url(env.settings.online_store)) as client:
        client.flushall()
    frame = pl.DataFrame(
        [
            {"shop": shop, "item": item, **of, "event_timestamp": NOON + timedelta(hours=hour)}
            for ((shop, item), hour), of in rows.items()
        ],
        schema=COLUMNS,
        orient="row",
    )
    definitions = load_definitions(env.directory, env.lifecycle)
    checked = check_feature_rows({"things": frame}, DAY, definitions, "transform")
    feature_rows_of(env.store, "flight_delay", "things").write(DAY, checked["things"], "sha256:test")
    run_stage(env, "materialize", view="things", start=DAY, end=DAY)

    moment = NOON + timedelta(hours=3 + after)
    asked = [(shop, item) for shop in SHOPS for item in ITEMS]
    questions = pl.DataFrame(asked, schema={"shop": pl.String, "item": pl.Int64}, orient="row")
    questions = questions.with_columns(event_timestamp=pl.lit(moment).dt.cast_time_unit("us"))
    defaults = {feature: value for (_, feature), value in definitions.defaults.items()}
    offline = to_inputs(point_in_time(env, questions), NAMES, defaults)
    np.testing.assert_array_equal(online(env, asked, moment), offline)


def online(env: StageEnv, asked: list[tuple[str, int]], moment: datetime) -> NDArray[np.float64]:
    description = describe_online(env.directory, env.lifecycle)["online"]
    (view,) = description["views"]
    reads = OnlineView(
        name=view["name"],
        join_keys={key["name"]: key["type"] for key in view["join_keys"]},
        features=tuple(feature["name"] for feature in view["features"]),
        ttl_seconds=view["ttl_seconds"],
    )
    columns = [("things", name) for name in NAMES]
    defaults = {("things", f["name"]): f["default"] for f in view["features"] if "default" in f}
    assert all(math.isfinite(value) for value in defaults.values())

    async def read() -> NDArray[np.float64]:
        connection = RedisConnection(RedisAddress.parse(env.settings.online_store))
        try:
            reader = OnlineReader(connection, description["project"], [reads], columns, defaults)
            entities = {"shop": [shop for shop, _ in asked], "item": [item for _, item in asked]}
            return (await reader.read(entities, moment.timestamp())).values
        finally:
            await connection.close()

    return asyncio.run(read())

"""The online reader gives what Feast's own SDK gives, for data that Feast or our engine has written."""

from __future__ import annotations

import asyncio
import math
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.types import Bool, Float32, Float64, Int32, Int64, String, UnixTimestamp
from redis_process import redis_process

from windtunnel.features.online.materialization import ENGINE
from windtunnel.features.online.online_reader import OnlineFeatures, OnlineReader, OnlineView
from windtunnel.features.online.redis_address import RedisAddress
from windtunnel.features.online.redis_connection import RedisConnection

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
TYPES = {
    "delay": Float64, "small": Float32, "flights": Int64, "short": Int32, "late": Bool, "last": UnixTimestamp,
}  # fmt: skip
KEYS = {
    "carrier": (ValueType.STRING, String),
    "origin": (ValueType.INT64, Int64),
    "slot": (ValueType.INT32, Int32),
}
VIEWS = [
    OnlineView("carrier_day", {"carrier": "STRING"}, tuple(TYPES), 86400),
    OnlineView("carrier_week", {"carrier": "STRING"}, ("delay",)),
    OnlineView("route_day", {"origin": "INT64", "carrier": "STRING"}, tuple(TYPES)),
    OnlineView("slot_day", {"slot": "INT32"}, tuple(TYPES)),
    OnlineView("whole_day", {"slot": "INT32", "origin": "INT64", "carrier": "STRING"}, ("delay", "late")),
]
COLUMNS = [(view.name, feature) for view in reversed(VIEWS) for feature in view.features]
FRESH, OLD = NOW - timedelta(hours=1, microseconds=1), NOW - timedelta(days=30)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NAMES = ["UA", "Ä∂", "", "a\x00b", "日本", "D L"]
NUMBERS = {
    "delay": [12.25, None, -0.0, 1e308, math.nan, 5e-324],
    "small": [0.1, None, -1.5, 3e38, 0.0, math.nan],
    "flights": [-3, None, 2**53, -(2**53), 2**40, 0],  # the SDK passes nullable ones through float
    "short": [-7, None, 2**31 - 1, -(2**31), 0, 1],
    "late": [True, None, False, True, False, True],
    "last": [FRESH, None, OLD, EPOCH - timedelta(seconds=2), EPOCH, NOW],
}  # fmt: skip
ENTITIES: dict[str, list[Any]] = {
    "carrier": [*NAMES, "nobody", "UA", "UA", "日本", "UA"],
    "origin": [1, -2, 2**62, -(2**63), 0, 7, 1, -2, 1, 0, 1],
    "slot": [0, 1, 2, -(2**31), 2**31 - 1, 5, 6, 5, 5, 2**31 - 1, 0],
}


def rows(view: OnlineView) -> pd.DataFrame:
    """Six rows as Feast wants them: nullable types, so that integers may be null."""
    frame: dict[str, Any] = {name: ENTITIES[name][:6] for name in view.join_keys}
    frame["event_timestamp"] = pd.Series(
        [FRESH, FRESH, FRESH, OLD, FRESH, FRESH], dtype="datetime64[ns, UTC]"
    )
    kinds = {"delay": "float64", "small": "float32", "flights": "Int64", "short": "Int32", "late": "boolean"}
    for feature in view.features:
        kind = kinds.get(feature, "datetime64[ns, UTC]")
        frame[feature] = (
            pd.array(NUMBERS[feature], dtype=kind)
            if kind[0].isupper() or kind == "boolean"
            else pd.Series(NUMBERS[feature], dtype=kind)
        )
    return pd.DataFrame(frame).astype({"slot": "int32"} if "slot" in view.join_keys else {})


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with redis_process() as at:
        yield at


@pytest.fixture(scope="module", params=["materialize", "write_to_online_store", "windtunnel"])
def store(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, port: int
) -> FeatureStore:
    """A Feast store on Redis, filled by its own means and by our materialization engine."""
    directory: Path = tmp_path_factory.mktemp("feast")
    config = RepoConfig(
        project=request.param,
        provider="local",
        registry=str(directory / "registry.db"),
        online_store={"type": "redis", "connection_string": f"127.0.0.1:{port}"},
        offline_store={"type": "duckdb"},
        entity_key_serialization_version=3,
        **({"batch_engine": {"type": ENGINE}} if request.param == "windtunnel" else {}),
    )
    entities = {
        name: Entity(name=name, join_keys=[name], value_type=kind) for name, (kind, _) in KEYS.items()
    }
    store = FeatureStore(config=config)
    views = []
    for view in VIEWS:
        path = directory / f"{view.name}.parquet"
        rows(view).to_parquet(path, coerce_timestamps="us", allow_truncated_timestamps=True)
        views.append(
            FeatureView(
                name=view.name,
                entities=[entities[name] for name in view.join_keys],
                schema=[Field(name=name, dtype=KEYS[name][1]) for name in view.join_keys]
                + [Field(name=feature, dtype=TYPES[feature]) for feature in view.features],
                source=FileSource(
                    name=f"{view.name}_source", path=str(path), timestamp_field="event_timestamp"
                ),
                ttl=timedelta(seconds=view.ttl_seconds),
            )
        )
    store.apply([*entities.values(), *views])
    if request.param != "write_to_online_store":
        store.materialize(OLD - timedelta(days=1), NOW)
    else:
        for view in VIEWS:
            store.write_to_online_store(view.name, rows(view))
    return store


def read(store: FeatureStore, port: int, now: datetime, entities: dict[str, list[Any]]) -> OnlineFeatures:
    async def reads() -> OnlineFeatures:
        client = RedisConnection(RedisAddress("127.0.0.1", port))
        try:
            return await OnlineReader(client, store.project, VIEWS, COLUMNS).read(entities, now.timestamp())
        finally:
            await client.close()

    return asyncio.run(reads())


def of_the_sdk(store: FeatureStore, entities: dict[str, list[Any]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    response = store.get_online_features(
        features=[f"{view}:{feature}" for view, feature in COLUMNS],
        entity_rows=[dict(zip(entities, row, strict=True)) for row in zip(*entities.values(), strict=True)],
        full_feature_names=True,
    ).to_dict()
    return np.array([[number(v) for v in response[f"{view}__{feature}"]] for view, feature in COLUMNS]).T


def number(value: Any) -> float:
    if value is None:
        return math.nan
    return value.timestamp() if isinstance(value, datetime) else float(value)


def test_reads_what_the_sdk_reads(store: FeatureStore, port: int) -> None:
    # in the moment of the oldest row nothing is too old; the SDK does not look at ttl
    result = read(store, port, OLD, ENTITIES)
    np.testing.assert_array_equal(result.values, of_the_sdk(store, ENTITIES))
    assert result.stale == 0
    for row in range(len(ENTITIES["carrier"])):
        single = read(store, port, OLD, {name: values[row : row + 1] for name, values in ENTITIES.items()})
        np.testing.assert_array_equal(single.values, result.values[row : row + 1])
    # a null of every type, and the largest of each
    carriers = result.values[:, [column[0] == "carrier_day" for column in COLUMNS]]
    assert np.isnan(carriers[1]).all()
    assert carriers[3].tolist() == [1e308, float(np.float32(3e38)), -(2.0**53), -(2.0**31), 1.0, -2.0]
    assert np.isnan(carriers[6]).all()


def test_reads_what_the_sdk_reads_in_a_large_batch(store: FeatureStore, port: int) -> None:
    entities = {name: values * 60 for name, values in ENTITIES.items()}
    result = read(store, port, OLD, entities)
    np.testing.assert_array_equal(result.values, np.tile(of_the_sdk(store, ENTITIES), (60, 1)))


def test_unlike_the_sdk_it_honours_ttl(store: FeatureStore, port: int) -> None:
    row = {name: values[3:4] for name, values in ENTITIES.items()}
    of_carrier_day = [column[0] == "carrier_day" for column in COLUMNS]
    assert not np.isnan(of_the_sdk(store, row)[0, of_carrier_day]).any()
    result = read(store, port, NOW, row)
    assert np.isnan(result.values[0, of_carrier_day]).all()
    assert result.stale == len(TYPES)


@pytest.mark.parametrize(("after", "stale"), [(timedelta(0), 0), (timedelta(microseconds=1), len(TYPES))])
def test_the_edge_of_ttl(store: FeatureStore, port: int, after: timedelta, stale: int) -> None:
    row = {name: values[:1] for name, values in ENTITIES.items()}
    assert read(store, port, FRESH + timedelta(days=1) + after, row).stale == stale

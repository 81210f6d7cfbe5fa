"""The online reader reads what Feast writes: key by key, value by value, and through a real Redis."""

from __future__ import annotations

import asyncio
import math
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import hiredis
import numpy as np
import pandas as pd
import pytest
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.infra.online_stores.helpers import _mmh3, _redis_key
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.types import Bool, Float32, Float64, Int32, Int64, String
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st
from redis_process import BINARY, MISSING, redis_process

from windtunnel.errors import DataError, PermanentError, StoreError
from windtunnel.features.online_layout import (
    NANOS,
    decode_timestamp,
    decode_value,
    entity_key_head,
    feature_field,
)
from windtunnel.features.online_reader import OnlineReader, OnlineView
from windtunnel.features.redis_address import RedisAddress
from windtunnel.features.redis_connection import RedisConnection

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
CARRIER = OnlineView(
    "carrier_day", {"carrier": "STRING"}, ("delay", "flights", "small", "short", "late"), 86400
)
ROUTE = OnlineView("route_day", {"origin": "INT64", "carrier": "STRING"}, ("delay",))
SLOT = OnlineView("slot_day", {"slot": "INT32"}, ("delay",))
COLUMNS = [
    ("slot_day", "delay"),
    ("carrier_day", "delay"),
    ("carrier_day", "flights"),
    ("carrier_day", "small"),
    ("carrier_day", "short"),
    ("carrier_day", "late"),
    ("route_day", "delay"),
]


class RecordingClient:
    """Answers every HMGET with what `hashes` holds, as Redis does."""

    def __init__(self, hashes: dict[bytes, dict[bytes, bytes]]) -> None:
        self.hashes = hashes
        self.reads = 0
        self.asked: list[tuple[bytes, list[bytes]]] = []

    async def ask(self, commands: bytes, count: int) -> list[list[bytes | None]]:
        self.reads += 1
        parser = hiredis.Reader()
        parser.feed(commands)
        answers: list[list[bytes | None]] = []
        while command := parser.gets():
            name, key, *fields = command
            assert name == b"HMGET"
            self.asked.append((key, fields))
            answers.append([self.hashes.get(key, {}).get(field) for field in fields])
        assert len(answers) == count
        return answers


def stamp(when: datetime) -> bytes:
    message = Timestamp()
    message.FromDatetime(when)
    return message.SerializeToString()


def read(client: Any, views: list[OnlineView], columns: list[tuple[str, str]], **entities: list[Any]) -> Any:
    reader = OnlineReader(client, "flight_delay", views, columns)
    return asyncio.run(reader.read(entities, NOW.timestamp())).values


@given(
    st.dictionaries(
        st.text(min_size=1, max_size=12).filter(lambda name: "\x00" not in name),
        st.text(max_size=20) | st.integers(-(2**63), 2**63 - 1),
        min_size=1,
        max_size=4,
    )
)
def test_asks_for_the_key_that_feast_writes(entity: dict[str, str | int]) -> None:
    values = [Value(string_val=v) if isinstance(v, str) else Value(int64_val=v) for v in entity.values()]
    key = EntityKey(join_keys=list(entity), entity_values=values)
    types = {name: "STRING" if isinstance(v, str) else "INT64" for name, v in entity.items()}
    client = RecordingClient({})
    read(client, [OnlineView("v", types, ("f",))], [("v", "f")], **{name: [v] for name, v in entity.items()})
    assert [asked for asked, _ in client.asked] == [_redis_key("flight_delay", key, 3)]
    assert serialize_entity_key(key, 3).startswith(entity_key_head(sorted(entity)))


@given(st.text(min_size=1), st.text(min_size=1))
def test_asks_for_the_field_that_feast_writes(view: str, feature: str) -> None:
    assert feature_field(view, feature) == _mmh3(f"{view}:{feature}")


@given(st.floats(), st.integers(-(2**63), 2**63 - 1), st.integers(-(2**31), 2**31 - 1), st.booleans())
def test_decodes_every_kind_of_number(real: float, long: int, integer: int, flag: bool) -> None:
    np.testing.assert_equal(decode_value(Value(double_val=real).SerializeToString()), real)
    assert decode_value(Value(int64_val=long).SerializeToString()) == float(long)
    assert decode_value(Value(int32_val=integer).SerializeToString()) == integer
    assert decode_value(Value(bool_val=flag).SerializeToString()) == flag
    assert decode_value(Value(unix_timestamp_val=long).SerializeToString()) == float(long)


@given(st.floats(width=32))
def test_decodes_single_precision(real: float) -> None:
    np.testing.assert_equal(decode_value(Value(float_val=real).SerializeToString()), real)


@pytest.mark.parametrize(
    "value", [None, b"", Value().SerializeToString(), Value(null_val=0).SerializeToString()]
)
def test_what_is_null_is_missing(value: bytes | None) -> None:
    assert math.isnan(decode_value(value))


@pytest.mark.parametrize("value", [Value(string_val="late").SerializeToString(), b"\x29\x00", b"\x20\xff"])
def test_what_is_no_number_is_an_error(value: bytes) -> None:
    with pytest.raises(DataError):
        decode_value(value)


@pytest.mark.parametrize("value", [b"\x08", b"\x08\xff"])
def test_a_timestamp_that_is_cut_short_is_an_error(value: bytes) -> None:
    with pytest.raises(DataError):
        decode_timestamp(value)


@given(st.datetimes(min_value=datetime(1960, 1, 1), max_value=datetime(2200, 1, 1)))
def test_decodes_timestamps_to_the_microsecond(when: datetime) -> None:
    when = when.replace(tzinfo=UTC)
    since = when - datetime(1970, 1, 1, tzinfo=UTC)
    whole = since.days * 86400 + since.seconds
    assert decode_timestamp(stamp(when)) == whole * NANOS + since.microseconds * 1000


def test_one_round_trip_for_all_views_and_each_entity_once() -> None:
    client = RecordingClient({})
    other = OnlineView("carrier_week", {"carrier": "STRING"}, ("delay",))
    result = read(
        client,
        [CARRIER, other, ROUTE],
        [("carrier_day", "delay"), ("carrier_week", "delay"), ("route_day", "delay")],
        carrier=["UA", "UA", "DL"],
        origin=[1, 2, 1],
    )
    assert result.shape == (3, 3)
    assert np.isnan(result).all()
    assert client.reads == 1
    assert len(client.asked) == 2 + 3  # carriers share a hash over both views; routes are three


@pytest.mark.parametrize(("age", "missing"), [(86399, False), (86401, True)])
def test_features_older_than_their_ttl_are_missing(age: int, missing: bool) -> None:
    key = _redis_key(
        "flight_delay", EntityKey(join_keys=["carrier"], entity_values=[Value(string_val="UA")]), 3
    )
    content = {
        b"_ts:carrier_day": stamp(NOW - timedelta(seconds=age)),
        feature_field("carrier_day", "delay"): Value(double_val=3.5).SerializeToString(),
    }
    reader = OnlineReader(
        RecordingClient({key: content}), "flight_delay", [CARRIER], [("carrier_day", "delay")]
    )
    online = asyncio.run(reader.read({"carrier": ["UA", "UA", "nobody"]}, NOW.timestamp()))
    assert math.isnan(online.values[0, 0]) == missing
    assert online.stale == (2 if missing else 0)


def test_a_column_that_no_view_offers_is_refused() -> None:
    with pytest.raises(PermanentError, match="carrier_day:speed"):
        OnlineReader(RecordingClient({}), "p", [CARRIER], [("carrier_day", "speed")])


def test_a_store_that_does_not_answer_is_a_store_error() -> None:
    client = RedisConnection(RedisAddress("127.0.0.1", 1))
    with pytest.raises(StoreError, match="the online store did not answer"):
        read(client, [CARRIER], [("carrier_day", "delay")], carrier=["UA"])


@pytest.fixture(scope="module")
def redis_port() -> Iterator[int]:
    if not BINARY:
        pytest.skip(MISSING + "; the tests above check the layout against Feast's own functions")
    with redis_process() as port:
        yield port


@pytest.fixture(scope="module")
def feast_store(tmp_path_factory: pytest.TempPathFactory, redis_port: int) -> FeatureStore:
    """A stock Feast store on Redis, with three views written by the SDK."""
    directory: Path = tmp_path_factory.mktemp("feast")
    config = RepoConfig(
        project="flight_delay",
        provider="local",
        registry=str(directory / "registry.db"),
        online_store={"type": "redis", "connection_string": f"127.0.0.1:{redis_port}"},
        offline_store={"type": "file"},
        entity_key_serialization_version=3,
    )
    carrier = Entity(name="carrier", join_keys=["carrier"], value_type=ValueType.STRING)
    origin = Entity(name="origin", join_keys=["origin"], value_type=ValueType.INT64)
    slot = Entity(name="slot", join_keys=["slot"], value_type=ValueType.INT32)
    types = {"delay": Float64, "flights": Int64, "small": Float32, "short": Int32, "late": Bool}

    def view(name: str, entities: list[Entity], features: tuple[str, ...], ttl: timedelta) -> FeatureView:
        keys = [
            Field(name=e.join_key, dtype={"carrier": String, "origin": Int64, "slot": Int32}[e.name])
            for e in entities
        ]
        source = FileSource(name=f"{name}_source", path=str(directory / f"{name}.parquet"),
                            timestamp_field="event_timestamp")  # fmt: skip
        fields = [Field(name=feature, dtype=types[feature]) for feature in features]
        return FeatureView(name=name, entities=entities, schema=keys + fields, source=source, ttl=ttl)

    for name in ("carrier_day", "route_day", "slot_day"):
        empty = pd.DataFrame({"event_timestamp": pd.to_datetime([], utc=True)})
        empty.to_parquet(directory / f"{name}.parquet")
    store = FeatureStore(config=config)
    store.apply(
        [
            carrier, origin, slot,
            view("carrier_day", [carrier], CARRIER.features, timedelta(days=1)),
            view("route_day", [origin, carrier], ROUTE.features, timedelta(0)),
            view("slot_day", [slot], SLOT.features, timedelta(0)),
        ]
    )  # fmt: skip
    fresh, stale = NOW - timedelta(hours=1), NOW - timedelta(days=30)
    store.write_to_online_store(
        "carrier_day",
        pd.DataFrame(
            {
                "carrier": ["UA", "Ä∂", "DL"], "event_timestamp": [fresh, fresh, stale],
                "delay": [12.25, None, 1.0], "flights": [-3, 2**40, 1], "small": [0.1, 0.0, 1.0],
                "short": [-7, 0, 1], "late": [True, False, True],
            }
        ).astype({"flights": "int64", "small": "float32", "short": "int32"}),
    )  # fmt: skip
    store.write_to_online_store(
        "route_day",
        pd.DataFrame(
            {"origin": [1, -2], "carrier": ["UA", "UA"], "event_timestamp": stale, "delay": [0.5, -0.0]}
        ),
    )
    store.write_to_online_store(
        "slot_day",
        pd.DataFrame({"slot": [5], "event_timestamp": fresh, "delay": [7.0]}).astype({"slot": "int32"}),
    )
    return store


ENTITIES: dict[str, list[Any]] = {
    "carrier": ["UA", "Ä∂", "UA", "nobody", ""],
    "origin": [1, 1, -2, 1, 2**62],
    "slot": [5, 5, 6, 5, 5],
}


def test_reads_what_the_feast_sdk_reads(feast_store: FeatureStore, redis_port: int) -> None:
    response = feast_store.get_online_features(
        features=[f"{view}:{feature}" for view, feature in COLUMNS],
        entity_rows=[dict(zip(ENTITIES, row, strict=True)) for row in zip(*ENTITIES.values(), strict=True)],
        full_feature_names=True,
    ).to_dict()
    expected = np.array(
        [
            [math.nan if v is None else float(v) for v in response[f"{view}__{feature}"]]
            for view, feature in COLUMNS
        ]
    ).T
    client = RedisConnection(RedisAddress("127.0.0.1", redis_port))
    result = read(client, [CARRIER, ROUTE, SLOT], COLUMNS, **ENTITIES)
    np.testing.assert_array_equal(result, expected)
    assert result[0, 1] == 12.25
    assert np.isnan(result[3, 1:]).all()


def test_unlike_feast_it_honours_ttl(feast_store: FeatureStore, redis_port: int) -> None:
    asked = feast_store.get_online_features(
        features=["carrier_day:delay"], entity_rows=[{"carrier": "DL"}]
    ).to_dict()
    assert asked["delay"] == [1.0]
    client = RedisConnection(RedisAddress("127.0.0.1", redis_port))
    assert np.isnan(read(client, [CARRIER], [("carrier_day", "delay")], carrier=["DL"])).all()

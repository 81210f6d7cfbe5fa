"""The online reader: which reads it makes of a batch, and what it makes of the answers."""

from __future__ import annotations

import asyncio
import math
from datetime import UTC, datetime, timedelta
from typing import Any

import hiredis
import numpy as np
import pytest
from feast.infra.online_stores.helpers import _redis_key
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from windtunnel.errors import DataError, PermanentError, RequestError, StoreError
from windtunnel.features.online.online_layout import NANOS, feature_field, timestamp_field
from windtunnel.features.online.online_reader import OnlineFeatures, OnlineReader, OnlineView
from windtunnel.features.online.redis_address import RedisAddress
from windtunnel.features.online.redis_connection import RedisConnection

NOW = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
DAY = 86400
CARRIER = OnlineView("carrier_day", {"carrier": "STRING"}, ("delay", "flights"), DAY)
WEEK = OnlineView("carrier_week", {"carrier": "STRING"}, ("delay",))
ROUTE = OnlineView("route_day", {"origin": "INT64", "carrier": "STRING"}, ("delay",))
VIEWS = [CARRIER, WEEK, ROUTE]
COLUMNS = [
    ("route_day", "delay"),
    ("carrier_day", "flights"),
    ("carrier_week", "delay"),
    ("carrier_day", "delay"),
]
Hashes = dict[bytes, dict[bytes, bytes]]


class RecordingClient:
    """Answers every HMGET with what `hashes` holds, as Redis does."""

    def __init__(self, hashes: Hashes) -> None:
        self.hashes = hashes
        self.reads = 0
        self.asked: list[tuple[bytes, list[bytes]]] = []
        self.fail_at = -1

    async def ask(self, commands: bytes, count: int) -> list[list[bytes | None]]:
        self.reads += 1
        fails = self.reads == self.fail_at
        await asyncio.sleep(0)
        if fails:
            raise StoreError("gone")
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


def key(**entity: str | int) -> bytes:
    values = [Value(string_val=v) if isinstance(v, str) else Value(int64_val=v) for v in entity.values()]
    return bytes(_redis_key("flight_delay", EntityKey(join_keys=list(entity), entity_values=values), 3))


def written(view: str, age: timedelta, more_nanos: int = 0, **features: Any) -> dict[bytes, bytes]:
    """The fields of a row whose event was so long before NOW; floats as doubles, ints as INT64."""
    stamp = Timestamp()
    stamp.FromDatetime(NOW - age)
    total = stamp.seconds * NANOS + stamp.nanos + more_nanos
    stamp.seconds, stamp.nanos = divmod(total, NANOS)
    content = {timestamp_field(view): stamp.SerializeToString()}
    for name, value in features.items():
        if value is None or isinstance(value, bytes):
            message = value or b""
        else:
            kind = "double_val" if isinstance(value, float) else "int64_val"
            message = Value(**{kind: value}).SerializeToString()
        content[feature_field(view, name)] = message
    return content


def read(client: Any, now: float | None = NOW.timestamp(), **entities: list[Any]) -> OnlineFeatures:
    return asyncio.run(OnlineReader(client, "flight_delay", VIEWS, COLUMNS).read(entities, now))


HASHES = {
    key(carrier="UA"): {
        **written("carrier_day", timedelta(hours=1), delay=12.5, flights=-3),
        **written("carrier_week", timedelta(days=900), delay=-0.0),
    },
    key(carrier="Ä∂"): written("carrier_day", timedelta(days=2), delay=1.0, flights=1),
    key(carrier="UA", origin=1): written("route_day", timedelta(days=900), delay=0.25),
    key(carrier="UA", origin=2): written("route_day", timedelta(hours=1), delay=None),
}


def test_one_round_trip_for_all_views_and_each_entity_once() -> None:
    client = RecordingClient({})
    result = read(client, carrier=["UA", "UA", "DL"], origin=[1, 2, 1])
    assert result.values.shape == (3, 4)
    assert np.isnan(result.values).all()
    assert result.missing == 12
    assert client.reads == 1
    assert len(client.asked) == 2 + 3  # carriers share a hash over both views; routes are three


@pytest.mark.parametrize("rows", [1, 2])
def test_what_is_there_and_what_is_not(rows: int) -> None:
    def ask(carrier: str, origin: int) -> OnlineFeatures:
        return read(RecordingClient(HASHES), carrier=[carrier] * rows, origin=[origin] * rows)

    known = ask("UA", 1)
    assert known.values.tolist() == [[0.25, -3.0, 0.0, 12.5]] * rows
    assert (known.missing, known.stale) == (0, 0)
    null = ask("UA", 2)
    np.testing.assert_array_equal(null.values, [[math.nan, -3.0, 0.0, 12.5]] * rows)
    assert (null.missing, null.stale) == (rows, 0)
    old = ask("Ä∂", 1)
    assert np.isnan(old.values).all()
    assert (old.missing, old.stale) == (4 * rows, 2 * rows)


@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize(("nanos", "stale"), [(-1, 2), (0, 0), (1, 0), (999_999_999, 0), (-999_999_999, 2)])
def test_the_edge_of_ttl_is_included_to_the_nanosecond(nanos: int, stale: int, rows: int) -> None:
    content = written("carrier_day", timedelta(seconds=DAY), nanos, delay=1.0, flights=2)
    client = RecordingClient({key(carrier="UA"): content})
    online = read(client, carrier=["UA"] * rows, origin=[1] * rows)
    assert online.stale == stale * rows
    assert np.isnan(online.values[:, 3]).all() == bool(stale)


def test_now_is_the_clock() -> None:
    content = written(
        "carrier_day", NOW - datetime.now(UTC) + timedelta(seconds=DAY - 5), delay=1.0, flights=2
    )
    client = RecordingClient({key(carrier="UA"): content})
    assert read(client, None, carrier=["UA"], origin=[1]).stale == 0
    assert read(client, datetime.now(UTC).timestamp() + 10, carrier=["UA"], origin=[1]).stale == 2


DEFAULTS = {("route_day", "delay"): -1.0, ("carrier_day", "flights"): 0.0}


@pytest.mark.parametrize("rows", [1, 2, 300])
def test_a_default_stands_in_and_still_counts_as_missing(rows: int) -> None:
    reader = OnlineReader(RecordingClient(HASHES), "flight_delay", VIEWS, COLUMNS, DEFAULTS)

    def ask(carrier: str, origin: int) -> OnlineFeatures:
        entities = {"carrier": [carrier] * rows, "origin": [origin] * rows}
        return asyncio.run(reader.read(entities, NOW.timestamp()))

    null = ask("UA", 2)
    np.testing.assert_array_equal(null.values, [[-1.0, -3.0, 0.0, 12.5]] * rows)
    assert (null.missing, null.stale) == (rows, 0)
    old = ask("Ä∂", 1)
    np.testing.assert_array_equal(old.values, [[-1.0, 0.0, math.nan, math.nan]] * rows)
    assert (old.missing, old.stale) == (4 * rows, 2 * rows)
    unknown = ask("nobody", 1)
    np.testing.assert_array_equal(unknown.values, [[-1.0, 0.0, math.nan, math.nan]] * rows)
    assert (unknown.missing, unknown.stale) == (4 * rows, 0)
    # one answer does not leak into the next
    assert ask("UA", 1).values.tolist() == [[0.25, -3.0, 0.0, 12.5]] * rows


@given(st.lists(st.tuples(st.sampled_from(["UA", "Ä∂", "??"]), st.integers(0, 2)), min_size=1, max_size=400))
def test_a_batch_reads_what_single_rows_read(rows: list[tuple[str, int]]) -> None:
    reader = OnlineReader(RecordingClient(HASHES), "flight_delay", VIEWS, COLUMNS, DEFAULTS)

    async def reads() -> tuple[OnlineFeatures, dict[tuple[str, int], OnlineFeatures]]:
        entities = {"carrier": [row[0] for row in rows], "origin": [row[1] for row in rows]}
        singles = {
            row: await reader.read({"carrier": [row[0]], "origin": [row[1]]}, NOW.timestamp())
            for row in set(rows)
        }
        return await reader.read(entities, NOW.timestamp()), singles

    batch, singles = asyncio.run(reads())
    np.testing.assert_array_equal(batch.values, np.concatenate([singles[row].values for row in rows]))
    assert batch.missing == sum(singles[row].missing for row in rows)
    assert batch.stale == sum(singles[row].stale for row in rows)


def test_a_large_batch_lets_others_through() -> None:
    hashes = {key(carrier=str(i)): written("carrier_week", timedelta(0), delay=float(i)) for i in range(5000)}
    client = RecordingClient(hashes)

    async def reads() -> OnlineFeatures:
        reader = OnlineReader(client, "flight_delay", [WEEK], [("carrier_week", "delay")])
        return await reader.read({"carrier": [str(i) for i in range(5000)]})

    assert asyncio.run(reads()).values[:, 0].tolist() == list(map(float, range(5000)))
    assert client.reads > 20


@pytest.mark.filterwarnings("error")
def test_a_large_batch_fails_as_a_whole() -> None:
    client = RecordingClient({})
    client.fail_at = 3
    with pytest.raises(StoreError, match="gone"):
        read(client, carrier=["UA"] * 3000, origin=list(range(3000)))
    assert client.reads <= 4


@pytest.mark.parametrize("rows", [1, 2, 300])
@pytest.mark.parametrize(
    ("field", "value"),
    [
        (feature_field("carrier_day", "delay"), b"\x29\x00"),
        (feature_field("carrier_day", "delay"), Value(string_val="x").SerializeToString()),
        (timestamp_field("carrier_day"), b"\x08\xff"),
    ],
)
def test_what_is_damaged_is_an_error(field: bytes, value: bytes, rows: int) -> None:
    content = written("carrier_day", timedelta(0), delay=1.0, flights=2) | {field: value}
    client = RecordingClient({key(carrier="UA"): content})
    with pytest.raises(DataError, match="materialize"):
        read(client, carrier=["UA"] * rows, origin=[1] * rows)


@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize(("carrier", "origin"), [("\ud800", 1), ("UA", 2**63), ("UA", "one")])
def test_an_entity_that_no_key_can_name(carrier: str, origin: Any, rows: int) -> None:
    with pytest.raises(RequestError, match=r"no entity can have this join key.*send carrier as STRING"):
        read(RecordingClient({}), carrier=[carrier] * rows, origin=[origin] * rows)


def test_no_rows() -> None:
    online = read(RecordingClient({}), carrier=[], origin=[])
    assert online.values.shape == (0, 4)
    assert (online.missing, online.stale) == (0, 0)


@pytest.mark.parametrize("defaults", [{("carrier_day", "speed"): 1.0}, {}])
def test_a_column_that_no_view_offers_is_refused(defaults: dict[tuple[str, str], float]) -> None:
    columns = [("carrier_day", "delay")] if defaults else [("carrier_day", "speed")]
    with pytest.raises(PermanentError, match="carrier_day:speed"):
        OnlineReader(RecordingClient({}), "p", [CARRIER], columns, defaults)


@pytest.mark.parametrize("rows", [1, 300])
def test_a_store_that_does_not_answer_is_a_store_error(rows: int) -> None:
    client = RedisConnection(RedisAddress("127.0.0.1", 1))
    with pytest.raises(StoreError, match="the online store did not answer"):
        read(client, carrier=["UA"] * rows, origin=[1] * rows)

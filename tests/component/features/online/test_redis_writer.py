"""The writer leaves in Redis what Feast's SDK would leave, keeps the newest, and tells its faults."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
import redis
from cutting_proxy import CuttingProxy
from feast import Entity, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.feature_view import DUMMY_ENTITY_ID
from feast.infra.online_stores.redis import RedisOnlineStore
from feast.types import (
    Array,
    Bool,
    Bytes,
    Decimal,
    FeastType,
    Float32,
    Float64,
    Int32,
    Int64,
    Json,
    Set,
    String,
    Struct,
    UnixTimestamp,
    Uuid,
)
from feast.utils import _convert_arrow_to_proto
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis_process import redis_process
from serving_process import free_port

from windtunnel.errors import DataError, PermanentError, SpecError, StoreError, WindtunnelError
from windtunnel.features.online import redis_upsert, redis_writer
from windtunnel.features.online.online_layout import decode_timestamp, feature_field, timestamp_field
from windtunnel.features.online.redis_writer import RedisWriter, takes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

US = pa.timestamp("us", "UTC")
DAY = 86_400
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with redis_process() as port:
        yield port


@pytest.fixture
def server(port: int) -> Iterator[redis.Redis]:
    with redis.Redis(port=port) as client:
        client.flushall()
        client.config_set("maxmemory", 0)
        yield client


def config(port: int, **online: Any) -> RepoConfig:
    options = {"connection_string": f"127.0.0.1:{port}", **online}
    return RepoConfig(
        project="demo",
        provider="local",
        registry="unused.db",
        online_store={"type": "redis", **options},
        offline_store={"type": "duckdb"},
        entity_key_serialization_version=3,
    )


def view(
    features: dict[str, FeastType] | None = None,
    keys: dict[str, FeastType] | None = None,
    name: str = "day",
    ttl: timedelta = timedelta(0),
) -> FeatureView:
    keys = {"key": Int64} if keys is None else keys
    types = {Int64: ValueType.INT64, Int32: ValueType.INT32, String: ValueType.STRING, Bytes: ValueType.BYTES}
    entities = [
        Entity(name=key, join_keys=[key], value_type=types.get(kind, ValueType.UNIX_TIMESTAMP))
        for key, kind in keys.items()
    ]
    fields = {**keys, **(features or {"value": Float64})}
    return FeatureView(
        name=name,
        entities=entities,
        ttl=ttl,
        source=FileSource(name=f"{name}_rows", path="unused", timestamp_field="event_timestamp"),
        schema=[Field(name=field, dtype=kind) for field, kind in fields.items()],
    )


def key_types(of: FeatureView) -> dict[str, ValueType]:
    return {field.name: field.dtype.to_value_type() for field in of.entity_columns}


def write(port: int, of: FeatureView, *tables: pa.Table, **online: Any) -> RedisWriter:
    writer = RedisWriter(config(port, **online), of, key_types(of))
    for table in tables:
        writer.write(table)
    writer.close()
    return writer


def rows(keys: list[int], when: Any, values: list[float]) -> pa.Table:
    """`when`: one moment, or one per row."""
    moments = when if isinstance(when, list) else [when] * len(keys)
    return pa.table(
        {
            "key": pa.array(keys, pa.int64()),
            "event_timestamp": moments if isinstance(moments, pa.Array) else pa.array(moments, US),
            "value": pa.array(values, pa.float64()),
        }
    )


def everything(client: redis.Redis) -> dict[bytes, dict[bytes, bytes]]:
    return {key: client.hgetall(key) for key in client.keys("*")}


def stored(client: redis.Redis) -> dict[int, float | None]:
    """Value by key, of `view()`."""
    found = {}
    for key, fields in everything(client).items():
        message = fields[feature_field("day", "value")]
        number = int.from_bytes(key.removesuffix(b"demo")[-8:], "little", signed=True)
        found[number] = float(np.frombuffer(message[1:], "<f8")[0]) if message else None
    return found


@contextlib.contextmanager
def fails_with(kind: type[WindtunnelError], message: str) -> Iterator[None]:
    with pytest.raises(WindtunnelError, match=message) as caught:
        yield
    assert isinstance(caught.value, kind)
    assert caught.value.where.startswith("redis://127.0.0.1:")
    assert caught.value.fix
    assert "secret" not in f"{caught.value}{caught.value.__cause__}"


# -- the layout ------------------------------------------------------------------------------------


FEATURES: dict[str, FeastType] = {
    "double": Float64, "float": Float32, "int32": Int32, "int64": Int64, "bool": Bool, "string": String,
    "bytes": Bytes, "moment": UnixTimestamp, "uuid": Uuid, "decimal": Decimal, "json": Json,
    "doubles": Array(Float64), "floats": Array(Float32), "int32s": Array(Int32), "int64s": Array(Int64),
    "bools": Array(Bool), "strings": Array(String), "byteses": Array(Bytes), "moments": Array(UnixTimestamp),
    "some": Set(Int64), "struct": Struct({"a": Int64}), "nested": Array(Array(Int64)), "größe 尺寸": Float64,
}  # fmt: skip
COLUMNS: dict[str, list[Any]] = {
    "double": [1.5, None, -0.0], "float": [0.5, None, 0.0], "int32": [1, -2, 0], "int64": [2**40, -1, 0],
    "bool": [True, None, False], "string": ["a", "", None], "bytes": [b"\xff\x00", b"", None],
    "moment": [NOON, datetime(1960, 1, 1, tzinfo=UTC), None], "uuid": ["b7d1e0a4", None, ""],
    "decimal": ["1.10", None, "0"], "json": ['{"a": 1}', None, "[]"],
    "doubles": [[1.0, None], [], None], "floats": [[0.5], None, []], "int32s": [[1, -1], [], None],
    "int64s": [[2**40, -1], [0], None], "bools": [[True, None], [], None], 
    "strings": [["a", None, ""], [], None],
    "byteses": [[b"a", b""], [], None], "moments": [[NOON, None], [], None], "some": [[3, 1, 3], [], None],
    "struct": [{"a": 1}, {"a": None}, None], "nested": [[[1, 2], []], [], None],
    "größe 尺寸": [2.0, None, 3.0],
}  # fmt: skip
TYPES = {
    "float": pa.float32(), "int32": pa.int32(), "moment": US, "floats": pa.list_(pa.float32()),
    "int32s": pa.list_(pa.int32()), "moments": pa.list_(US),
}  # fmt: skip


def test_every_type_is_stored_as_the_sdk_stores_it(server: redis.Redis, port: int) -> None:
    of = view(FEATURES)
    table = pa.table(
        {
            "key": [1, 2, 3],
            "event_timestamp": pa.array([NOON, NOON, datetime(1969, 12, 31, 23, 59, 59, 5, UTC)], US),
            **{name: pa.array(values, TYPES.get(name)) for name, values in COLUMNS.items()},
        }
    )
    # The store is empty: Feast's comparison of timestamps has nothing to say.
    repo = config(port, connection_string=f"127.0.0.1:{port},db=1", skip_dedup=True)
    RedisOnlineStore().online_write_batch(
        repo, of, _convert_arrow_to_proto(table, of, key_types(of)), progress=None
    )
    assert write(port, of, table).written == 3
    with redis.Redis(port=port, db=1) as theirs:
        expected = everything(theirs)
    assert len(expected) == 3
    assert everything(server) == expected


@pytest.mark.parametrize(
    ("keys", "columns"),
    [
        ({"k": String}, {"k": pa.array(["", "ä", "x" * 300])}),
        ({"k": Bytes}, {"k": pa.array([b"a", b"\xff\x00", b"\r\n"])}),
        ({"k": Int32}, {"k": pa.array([-1, 0, 2**31 - 1], pa.int32())}),
        ({"k": UnixTimestamp}, {"k": pa.array([NOON, NOON + timedelta(1), NOON - timedelta(99999)], US)}),
        (
            {"zone": String, "b": Int64, "Größe": Int32},
            {
                "zone": pa.array(["a", "a", "b"]).dictionary_encode(),
                "b": pa.array([1, 2, 1]),
                "Größe": pa.array([7, 7, 7], pa.int32()),
            },
        ),
        ({}, {DUMMY_ENTITY_ID: pa.array([""] * 3)}),
    ],
)
def test_every_key_is_stored_as_the_sdk_stores_it(
    server: redis.Redis, port: int, keys: dict[str, FeastType], columns: dict[str, pa.Array]
) -> None:
    of = view(keys=keys)
    table = pa.table({**columns, "event_timestamp": pa.array([NOON] * 3, US), "value": [1.0, 2.0, 3.0]})
    types = key_types(of) or {DUMMY_ENTITY_ID: ValueType.STRING}
    repo = config(port, connection_string=f"127.0.0.1:{port},db=1", skip_dedup=True)
    RedisOnlineStore().online_write_batch(repo, of, _convert_arrow_to_proto(table, of, types), progress=None)
    writer = RedisWriter(config(port), of, types)
    writer.write(table)
    writer.close()
    with redis.Redis(port=port, db=1) as theirs:
        assert everything(server) == everything(theirs)


def test_messages_of_feast_are_stored_as_its_columns(server: redis.Redis, port: int) -> None:
    of = view(FEATURES)
    moments = [NOON, NOON.replace(tzinfo=None), datetime(1969, 12, 31, 23, 59, 59, 5, UTC)]
    table = pa.table(
        {
            "key": [1, 2, 3],
            "event_timestamp": pa.array([moment.replace(tzinfo=UTC) for moment in moments], US),
            **{name: pa.array(values, TYPES.get(name)) for name, values in COLUMNS.items()},
        }
    )
    write(port, of, table)
    expected = everything(server)
    server.flushall()
    messages = _convert_arrow_to_proto(table, of, key_types(of))
    writer = RedisWriter(config(port), of, {})
    writer.write_messages(
        [(key, values, moment, None) for (key, values, _, _), moment in zip(messages, moments, strict=True)]
    )
    writer.write_messages([])
    writer.close()
    assert writer.written == 3
    assert everything(server) == expected


def test_a_view_of_a_version_has_fields_of_its_own(server: redis.Redis, port: int) -> None:
    repo = config(port)
    repo.registry.enable_online_feature_view_versioning = True
    of = view()
    of.current_version_number = 3
    writer = RedisWriter(repo, of, key_types(of))
    writer.write(rows([1], NOON, [1.0]))
    writer.close()
    (fields,) = everything(server).values()
    assert set(fields) == {timestamp_field("day_v3"), feature_field("day_v3", "value")}


# -- newest wins -----------------------------------------------------------------------------------


def test_an_older_row_never_comes_over_a_newer_one_and_an_equal_one_replaces_it(
    server: redis.Redis, port: int
) -> None:
    of = view()
    assert write(port, of, rows([1, 2], NOON, [1.0, 2.0])).written == 2
    older = write(port, of, rows([1, 2, 3], NOON - timedelta(microseconds=1), [9.0, 9.0, 3.0]))
    assert (older.written, older.skipped) == (1, 2)
    assert stored(server) == {1: 1.0, 2: 2.0, 3: 3.0}
    assert write(port, of, rows([1], NOON, [5.0])).written == 1
    assert write(port, of, rows([2], NOON + timedelta(microseconds=1), [6.0])).written == 1
    assert stored(server) == {1: 5.0, 2: 6.0, 3: 3.0}


def test_of_equal_keys_in_a_batch_the_newest_wins_and_of_equal_rows_the_last(
    server: redis.Redis, port: int
) -> None:
    later = NOON + timedelta(seconds=1)
    table = rows([1, 1, 1, 2, 2], [later, NOON, later, NOON, NOON], [1.0, 2.0, 3.0, 4.0, None])
    assert write(port, view(), table).skipped == 1
    assert stored(server) == {1: 3.0, 2: None}


def test_every_row_may_be_of_one_key(server: redis.Redis, port: int) -> None:
    when = pa.array(range(20_000), US)
    table = pa.table(
        {"key": [7] * 20_000, "event_timestamp": when, "value": [float(n) for n in range(20_000)]}
    )
    shuffled = table.take(pa.array(np.random.default_rng(1).permutation(20_000)))
    assert write(port, view(), table).written == 20_000
    assert stored(server) == {7: 19_999.0}
    assert write(port, view(), shuffled).skipped == 19_999


MOMENTS = st.one_of(
    st.sampled_from([-(10**18), -1_000_000_001, -1_000_000_000, -1, 0, 1, 999_999_999, 10**9, 10**18]),
    st.integers(-(2**62), 2**62),
)
BATCH = st.lists(st.tuples(st.integers(0, 5), MOMENTS), min_size=1, max_size=12)


@given(batches=st.lists(BATCH, min_size=1, max_size=5))
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_the_order_the_newest_is_kept_to_the_nanosecond(
    server: redis.Redis, port: int, batches: list[list[tuple[int, int]]]
) -> None:
    server.flushall()
    newest: dict[int, tuple[int, float]] = {}
    value = skipped = total = 0
    for batch in batches:
        values = []
        for key, moment in batch:
            value += 1
            values.append(float(value))
            if key in newest and moment < newest[key][0]:
                skipped += 1
            else:
                newest[key] = (moment, float(value))
        keys = [key for key, _ in batch]
        when = pa.array([moment for _, moment in batch], pa.timestamp("ns", "UTC"))
        table = pa.table({"key": keys, "event_timestamp": when, "value": values})
        writer = write(port, view(), table)
        total += writer.skipped
    assert total == skipped
    assert stored(server) == {key: value for key, (_, value) in newest.items()}
    moments = {fields[timestamp_field("day")] for fields in everything(server).values()}
    assert {decode_timestamp(moment) for moment in moments} == {moment for moment, _ in newest.values()}


@pytest.mark.parametrize(
    "stamp", [b"\x08", b"\x99\x01", b"\x10\xff", b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff"]
)
def test_a_damaged_timestamp_is_replaced(server: redis.Redis, port: int, stamp: bytes) -> None:
    write(port, view(), rows([1], NOON, [1.0]))
    (key,) = server.keys("*")
    server.hset(key, timestamp_field("day"), stamp)
    assert write(port, view(), rows([1], datetime(1950, 1, 1, tzinfo=UTC), [2.0])).written == 1
    assert stored(server) == {1: 2.0}


def test_two_writers_at_once_leave_the_newest_of_both(server: redis.Redis, port: int) -> None:
    chance = random.Random(4)
    batches = [
        [
            ([chance.randrange(50) for _ in range(200)], [chance.randrange(10**6) for _ in range(200)])
            for _ in range(40)
        ]
        for _ in range(4)
    ]

    def run(mine: list[tuple[list[int], list[int]]]) -> None:
        # A row's value tells its moment: equally old rows are then equal.
        tables = [
            pa.table({"key": keys, "event_timestamp": pa.array(when, US), "value": [float(n) for n in when]})
            for keys, when in mine
        ]
        write(port, view(), *tables)

    threads = [threading.Thread(target=run, args=(mine,)) for mine in batches]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected: dict[int, float] = {}
    for mine in batches:
        for keys, when in mine:
            for key, moment in zip(keys, when, strict=True):
                expected[key] = max(expected.get(key, -1.0), float(moment))
    assert stored(server) == expected


def test_views_that_share_a_hash_leave_each_other_alone(server: redis.Redis, port: int) -> None:
    write(port, view(name="a"), rows([1], NOON, [1.0]))
    write(port, view(name="b"), rows([1], NOON - timedelta(days=9), [2.0]))
    (fields,) = everything(server).values()
    assert len(fields) == 4


# -- expiry ----------------------------------------------------------------------------------------


def left(client: redis.Redis) -> int:
    (key,) = client.keys("*")
    return int(client.ttl(key))


def test_a_hash_goes_after_the_longest_ttl_of_its_views(server: redis.Redis, port: int) -> None:
    row = rows([1], NOON, [1.0])
    write(port, view(name="short", ttl=timedelta(hours=1)), row)
    assert DAY - 60 <= left(server) <= DAY
    write(port, view(name="long", ttl=timedelta(days=5, seconds=0.5)), row)
    assert 5 * DAY - 60 <= left(server) <= 5 * DAY + 1
    write(port, view(name="middle", ttl=timedelta(days=2)), row)
    assert left(server) >= 5 * DAY - 60
    write(port, view(name="ever"), row)
    assert left(server) == -1
    write(port, view(name="long", ttl=timedelta(days=5)), row)
    assert left(server) == -1


def test_a_row_that_is_skipped_keeps_nothing_alive(server: redis.Redis, port: int) -> None:
    of = view(ttl=timedelta(days=2))
    write(port, of, rows([1], NOON, [1.0]))
    (key,) = server.keys("*")
    server.expire(key, 60)
    assert write(port, of, rows([1], NOON - timedelta(1), [1.0])).skipped == 1
    assert left(server) <= 60


def test_a_row_ahead_of_the_clock_lives_longer_by_that(server: redis.Redis, port: int) -> None:
    write(port, view(ttl=timedelta(days=2)), rows([1], datetime.now(UTC) + timedelta(days=1), [1.0]))
    assert 3 * DAY - 60 <= left(server) <= 3 * DAY + 1


def test_a_configured_expiry_takes_the_place_of_the_rule(server: redis.Redis, port: int) -> None:
    write(port, view(), rows([1], NOON, [1.0]), key_ttl_seconds=1_000)
    assert 940 <= left(server) <= 1_000
    write(port, view(ttl=timedelta(days=3)), rows([1], NOON, [1.0]), key_ttl_seconds=100)
    assert 40 <= left(server) <= 100


# -- sizes -----------------------------------------------------------------------------------------


def test_wide_views_and_long_values_pass(server: redis.Redis, port: int) -> None:
    names = [f"f{number}" for number in range(1_200)]
    of = view({**dict.fromkeys(names, Float64), "text": String, "vector": Array(Float64)})
    texts = ["x" * size for size in (0, 31, 32, 255, 256, 65_535, 65_536, 3_000_000)]
    count = len(texts)
    table = pa.table(
        {
            "key": list(range(count)),
            "event_timestamp": pa.array([NOON] * count, US),
            **{name: np.full(count, float(number)) for number, name in enumerate(names)},
            "text": texts,
            "vector": [[float(size)] * (len(text) // 8) for size, text in enumerate(texts)],
        }
    )
    assert write(port, of, table).written == count
    repo = config(port)
    keys = [key for key, *_ in _convert_arrow_to_proto(table, of, key_types(of))]
    found = RedisOnlineStore().online_read(repo, of, keys)
    for row, (when, values) in enumerate(found):
        assert when == NOON
        assert values is not None
        assert values["text"].string_val == texts[row]
        assert len(values["vector"].double_list_val.val) == len(texts[row]) // 8
        assert all(values[name].double_val == number for number, name in enumerate(names))


@pytest.mark.parametrize("kind", [pa.string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())])
def test_what_is_encoded_and_sent_at_a_time_is_bounded_in_bytes(kind: pa.DataType) -> None:
    texts = pa.array(["x" * (10 if row % 100 else 1_000_000) for row in range(5_000)])
    lists = pa.array([[1.0] * (1 if row % 50 else 50_000) for row in range(5_000)])
    batch = pa.record_batch({"text": texts, "list": lists})
    typed = texts.dictionary_encode() if pa.types.is_dictionary(kind) else texts.cast(kind)
    blocks = list(redis_writer._blocks(batch.set_column(0, "text", typed)))
    assert [first for first, _ in blocks[1:]] == [end for _, end in blocks[:-1]]
    assert (blocks[0][0], blocks[-1][1]) == (0, 5_000)
    largest = max(batch.slice(first, end - first).nbytes for first, end in blocks)
    assert largest <= redis_writer.BLOCK_BYTES + 2_500_000
    ends = np.cumsum([0, *[200] * 3_000, 500_000, *[200] * 10])
    calls = list(redis_upsert._calls(ends))
    assert [first for first, _ in calls[1:]] == [end for _, end in calls[:-1]]
    assert calls[-1][1] == 3_011
    assert max(end - first for first, end in calls) <= redis_upsert.CALL_ROWS
    sizes = [int(ends[end] - ends[first]) for first, end in calls]
    assert sorted(sizes)[-2:] == [pytest.approx(redis_upsert.CALL_BYTES, abs=200), 500_000]


def test_a_row_that_no_server_takes_is_refused(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_upsert, "ROW_BYTES", 1_000)
    with fails_with(DataError, "too long for the online store"):
        write(
            port, view({"text": String}), rows([1], NOON, [1.0]).append_column("text", pa.array(["x" * 1000]))
        )


def test_no_rows_need_no_server() -> None:
    writer = write(1, view(), rows([], NOON, []))
    assert (writer.written, writer.skipped, writer.bytes_sent) == (0, 0, 0)


# -- faults ----------------------------------------------------------------------------------------

MANY = rows(list(range(30_000)), NOON, [float(key) for key in range(30_000)])
EXPECTED = {key: float(key) for key in range(30_000)}


def test_a_server_that_is_not_there(port: int) -> None:
    with fails_with(StoreError, "failed: Error 111"):
        write(1, view(), MANY.slice(0, 1), connection_string="127.0.0.1:1,socket_connect_timeout=1")


@pytest.mark.parametrize("answers", [0, 1, 9, 300])
def test_a_connection_that_drops_in_the_middle(server: redis.Redis, port: int, answers: int) -> None:
    with CuttingProxy(port) as proxy:
        proxy.cut_after = answers
        with fails_with(StoreError, "failed"):
            write(proxy.port, view(), MANY)
        proxy.cut_after = None
        retry = write(proxy.port, view(), MANY)
    assert (retry.written, retry.skipped) == (30_000, 0)
    assert stored(server) == EXPECTED


def test_a_server_that_is_killed_in_the_middle() -> None:
    with redis_process() as port, redis.Redis(port=port) as client:
        writer = RedisWriter(config(port), view(), key_types(view()))
        writer.write(MANY)
        os.kill(int(client.info("server")["process_id"]), signal.SIGKILL)
        with fails_with(StoreError, "failed"):
            writer.write(MANY)
            writer.close()
    with redis_process(port=port), redis.Redis(port=port) as client:
        assert write(port, view(), MANY).written == 30_000
        assert stored(client) == EXPECTED


def test_a_server_that_stops_answering() -> None:
    with redis_process() as port, redis.Redis(port=port) as client:
        process = int(client.info("server")["process_id"])
        options = f"127.0.0.1:{port},socket_timeout=0.3"
        os.kill(process, signal.SIGSTOP)
        try:
            with fails_with(StoreError, "Timeout"):
                write(port, view(), MANY, connection_string=options)
        finally:
            os.kill(process, signal.SIGCONT)
        assert write(port, view(), MANY).written == 30_000
        assert stored(client) == EXPECTED


def test_a_server_that_is_out_of_memory(server: redis.Redis, port: int) -> None:
    server.config_set("maxmemory", int(server.info("memory")["used_memory"]) + 500_000)
    with fails_with(StoreError, "is out of memory: .*maxmemory"):
        write(port, view(), MANY)
    assert 0 < server.dbsize() < 30_000
    server.config_set("maxmemory", 0)
    assert write(port, view(), MANY).written == 30_000
    assert stored(server) == EXPECTED


def test_a_server_that_cannot_write_to_its_disk(tmp_path: Path) -> None:
    in_the_way = tmp_path / "dump.rdb"
    with redis_process("--dir", str(tmp_path)) as port, redis.Redis(port=port) as client:
        client.config_set("save", "3600 1")
        write(port, view(), MANY.slice(0, 1))
        in_the_way.mkdir()
        _save(client, "err")
        with fails_with(StoreError, "cannot write to its disk: .*MISCONF"):
            write(port, view(), MANY)
        in_the_way.rmdir()
        _save(client, "ok")
        assert write(port, view(), MANY).written == 30_000


def _save(client: redis.Redis, ends: str) -> None:
    client.bgsave()
    deadline = time.monotonic() + 60
    while client.info("persistence")["rdb_last_bgsave_status"] != ends:
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("password", ["", ",password=secret-but-wrong"])
def test_a_password_that_is_missing_or_wrong(password: str) -> None:
    with (
        redis_process("--requirepass", "secret") as port,
        fails_with(PermanentError, "the online store refused"),
    ):
        write(port, view(), MANY, connection_string=f"127.0.0.1:{port}{password}")


def test_a_user_that_may_not_write() -> None:
    with redis_process() as port, redis.Redis(port=port) as client:
        client.acl_setuser("reader", enabled=True, passwords="+secret", commands=["+eval", "+hget"], keys="*")
        options = f"127.0.0.1:{port},username=reader,password=secret"
        with fails_with(PermanentError, "the online store refused"):
            write(port, view(), MANY, connection_string=options)


def test_a_replica(server: redis.Redis) -> None:
    with redis_process() as port, redis.Redis(port=port) as client:
        client.replicaof("127.0.0.1", 1)
        with fails_with(StoreError, "is a replica"):
            write(port, view(), MANY)


def test_a_key_that_holds_something_else(server: redis.Redis, port: int) -> None:
    write(port, view(), rows([1], NOON, [1.0]))
    (key,) = server.keys("*")
    server.set(key, "text")
    with fails_with(PermanentError, "holds something else"):
        write(port, view(), MANY)


def test_a_server_in_cluster_mode(tmp_path: Path) -> None:
    # Its bus listens 10,000 ports higher.
    low = next(port for port in iter(free_port, 0) if port < 55_000)
    with (
        redis_process("--cluster-enabled", "yes", "--dir", str(tmp_path), port=low) as port,
        fails_with(WindtunnelError, "the online store"),
    ):
        write(port, view(), MANY)


def test_after_a_fault_the_writer_counts_only_what_was_answered(server: redis.Redis, port: int) -> None:
    with CuttingProxy(port) as proxy:
        proxy.cut_after = 60
        writer = RedisWriter(config(proxy.port), view(), key_types(view()))
        with fails_with(StoreError, "failed"):
            writer.write(MANY)
            writer.close()
        writer.abort()
    assert writer.written + writer.skipped < 30_000


# -- configuration ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["redis_cluster", "redis_sentinel"])
def test_clusters_and_sentinels_are_left_to_feast(kind: str) -> None:
    assert takes(config(1))
    assert not takes(config(1, redis_type=kind))


def test_missing_columns_and_wrong_vectors_are_named(port: int) -> None:
    with pytest.raises(DataError, match="there is no column 'value'") as caught:
        write(port, view(), rows([1], NOON, [1.0]).drop_columns(["value"]))
    assert caught.value.where == "view 'day'"
    of = view({"vector": Array(Float32)})
    of.features[0].vector_index, of.features[0].vector_length = True, 3
    table = rows([1], NOON, [1.0]).append_column("vector", pa.array([[1.0, 2.0]], pa.list_(pa.float32())))
    with pytest.raises(DataError, match="Vector length 2 does not match expected 3"):
        write(port, of, table)


def test_features_that_share_a_field_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_writer, "feature_field", lambda *_: b"same")
    with pytest.raises(SpecError, match="'a' and 'b' share a field"):
        RedisWriter(config(1), view({"a": Float64, "b": Float64}), {})

"""Feast materializes by our engine: what its SDK reads, what its registry records, what a fault leaves."""

from __future__ import annotations

import logging
import os
import signal
import sqlite3
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pandas as pd
import polars as pl
import pytest
import redis
from cutting_proxy import CuttingProxy
from feast import (
    BatchFeatureView,
    Entity,
    FeatureStore,
    FeatureView,
    Field,
    FileSource,
    RepoConfig,
    ValueType,
)
from feast.feature_view import DUMMY_ENTITY_ID, DUMMY_ENTITY_VAL
from feast.infra.online_stores.redis import RedisOnlineStore
from feast.types import Array, Bool, Bytes, Float32, Float64, Int32, Int64, Json, String, UnixTimestamp
from redis_process import redis_process

from windtunnel.errors import DataError, PermanentError, SpecError, StoreError
from windtunnel.features.offline.offline_store import AsofOfflineStore
from windtunnel.features.online import generic_writer, materialization_engine, redis_writer
from windtunnel.features.online.generic_writer import GenericWriter
from windtunnel.features.online.materialization import ENGINE, MaterializationReport, materialize_view

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import pyarrow as pa

ASOF = {"type": "windtunnel.features.offline.offline_store.AsofOfflineStore"}
DUCKDB = {"type": "duckdb"}
START = datetime(2026, 3, 1, tzinfo=UTC)
END = datetime(2026, 3, 10, tzinfo=UTC)
KEY = Entity(name="key", join_keys=["key"], value_type=ValueType.INT64)

Online = dict[str, Any]


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with redis_process() as port:
        yield port


@pytest.fixture
def server(port: int) -> Iterator[redis.Redis]:
    with redis.Redis(port=port) as client:
        client.flushall()
        yield client


@pytest.fixture(params=["redis", "sqlite"])
def online(request: pytest.FixtureRequest, tmp_path: Path) -> Online:
    """Feast's configuration of an empty online store."""
    if request.param == "sqlite":
        return {"type": "sqlite", "path": str(tmp_path / "online.db")}
    with redis.Redis(port=request.getfixturevalue("port")) as client:
        client.flushall()
    return at(request.getfixturevalue("port"))


def at(port: int, **options: Any) -> Online:
    return {"type": "redis", "connection_string": f"127.0.0.1:{port},socket_timeout=5", **options}


def open_store(
    directory: Path, online: Online, *objects: Any, offline: Any = ASOF, engine: Any = ENGINE, **more: Any
) -> FeatureStore:
    engine = {"type": engine} if isinstance(engine, str) else engine
    config = RepoConfig(
        project="demo",
        provider="local",
        registry=str(directory / "registry.db"),
        offline_store=offline,
        online_store=online,
        batch_engine=engine,
        entity_key_serialization_version=3,
        repo_path=directory,
        **more,
    )
    store = FeatureStore(config=config)
    store.apply(list(objects))
    return store


def source(directory: Path, rows: pl.DataFrame, name: str = "rows", **options: Any) -> FileSource:
    path = directory / f"{name}.parquet"
    rows.write_parquet(path)
    return FileSource(name=name, path=str(path), timestamp_field="event_timestamp", **options)


def numbers(rows: list[tuple[int, int, float | None]]) -> pl.DataFrame:
    """(key, hours after START, value)"""
    return pl.DataFrame(
        {
            "key": [key for key, _, _ in rows],
            "event_timestamp": [START + timedelta(hours=hours) for _, hours, _ in rows],
            "value": [value for _, _, value in rows],
        },
        schema={"key": pl.Int64, "event_timestamp": pl.Datetime("us", "UTC"), "value": pl.Float64},
    )


def day_view(rows: FileSource, **options: Any) -> FeatureView:
    schema = [Field(name="key", dtype=Int64), Field(name="value", dtype=Float64)]
    return FeatureView(name="day", entities=[KEY], source=rows, schema=schema, **options)


def read(store: FeatureStore, keys: list[int]) -> list[float | None]:
    answer = store.get_online_features(features=["day:value"], entity_rows=[{"key": key} for key in keys])
    found: list[float | None] = answer.to_dict()["value"]
    return found


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., FeatureStore]:
    """A store of the view `day` over rows as `numbers` takes them."""

    def made(store: Online, rows: list[tuple[int, int, float | None]], **options: Any) -> FeatureStore:
        return open_store(tmp_path, store, KEY, day_view(source(tmp_path, numbers(rows)), **options))

    return made


# -- what is written -------------------------------------------------------------------------------


TYPES = {
    "double": Float64, "float": Float32, "int32": Int32, "int64": Int64, "bool": Bool, "string": String,
    "bytes": Bytes, "moment": UnixTimestamp, "json": Json, "doubles": Array(Float64),
    "floats": Array(Float32), "int32s": Array(Int32), "int64s": Array(Int64), "bools": Array(Bool),
    "strings": Array(String),
    "byteses": Array(Bytes),
}  # fmt: skip


@pytest.mark.parametrize("offline", [DUCKDB, ASOF], ids=["duckdb", "asof"])
def test_the_sdk_reads_what_stock_feast_would_have_written(
    server: redis.Redis, port: int, tmp_path: Path, offline: Online
) -> None:
    frame = pl.DataFrame(
        {
            "key": [1, 2, 3, 1],
            "event_timestamp": [START, START, START, START - timedelta(days=1)],
            "double": [1.5, None, -0.0, 9.0], "float": [0.5, None, 0.0, 9.0], "int32": [1, -2, 0, 9],
            "int64": [2**40, -1, 0, 9], "bool": [True, None, False, True], "string": ["a", "", None, "old"],
            "bytes": [b"\xff\x00", b"", None, b"old"],
            "moment": [START, None, datetime(1960, 1, 1, tzinfo=UTC), START],
            "json": ['{"a": 1}', None, "[]", "{}"], "doubles": [[1.0, 2.0], [], None, []],
            "floats": [[0.5], None, [], []], "int32s": [[1, -1], [], None, []],
            "int64s": [[2**40, -1], [0], None, []],
            "bools": [[True, False], [], None, []], "strings": [["a", ""], [], None, []],
            "byteses": [[b"a", b""], [], None, []],
        },
        schema_overrides={
            "float": pl.Float32, "int32": pl.Int32, "floats": pl.List(pl.Float32),
            "int32s": pl.List(pl.Int32),
        },
    )  # fmt: skip
    schema = [Field(name="key", dtype=Int64), *(Field(name=name, dtype=kind) for name, kind in TYPES.items())]
    rows = source(tmp_path, frame)
    of = FeatureView(name="all", entities=[KEY], source=rows, schema=schema)
    ours = open_store(tmp_path, at(port), KEY, of, offline=offline)
    report = materialize_view(ours, "all", START - timedelta(days=2), END)
    assert (report.written, report.skipped, report.newest_event) == (3, 0, START)
    theirs_at = f"127.0.0.1:{port},db=1"
    stock = open_store(
        tmp_path, at(port, connection_string=theirs_at), KEY, of, offline=DUCKDB, engine="local"
    )
    stock.materialize(START - timedelta(days=2), END, ["all"])
    asked = [{"key": key} for key in (1, 2, 3, 4)]
    features = [f"all:{name}" for name in TYPES]
    assert (
        ours.get_online_features(features=features, entity_rows=asked).to_dict()
        == stock.get_online_features(features=features, entity_rows=asked).to_dict()
    )
    with redis.Redis(port=port, db=1) as other:
        assert {key: server.hgetall(key) for key in server.keys("*")} == {
            key: other.hgetall(key) for key in other.keys("*")
        }


def test_slices_may_be_written_in_any_order_and_again(
    online: Online, make: Callable[..., FeatureStore]
) -> None:
    store = make(online, [(1, 0, 1.0), (1, 30, 2.0), (2, 1, 3.0), (3, 50, 4.0), (3, 50, 5.0)])
    days = [START + timedelta(days=number) for number in range(4)]
    late = materialize_view(store, "day", days[1], days[3])
    assert (late.written, late.skipped) == (2, 0)
    assert late.newest_event == START + timedelta(hours=50)
    early = materialize_view(store, "day", days[0], days[1])
    assert (early.written, early.skipped) == (1, 1)
    assert read(store, [1, 2, 3]) == [2.0, 3.0, 5.0]
    again = materialize_view(store, "day", days[0], days[3])
    assert (again.written, again.skipped) == (3, 0)
    assert read(store, [1, 2, 3]) == [2.0, 3.0, 5.0]
    assert store._get_provider().batch_engine.totals.written == 6


def test_a_corrected_day_replaces_what_it_gave(
    online: Online, make: Callable[..., FeatureStore], tmp_path: Path
) -> None:
    store = make(online, [(1, 0, 1.0), (2, 0, 2.0)])
    materialize_view(store, "day", START, END)
    source(tmp_path, numbers([(1, 0, 7.0), (2, 0, None)]))
    materialize_view(store, "day", START, END)
    assert read(store, [1, 2]) == [7.0, None]


def test_nothing_to_write_is_no_fault(online: Online, make: Callable[..., FeatureStore]) -> None:
    store = make(online, [(1, 0, 1.0)])
    report = materialize_view(store, "day", END, END + timedelta(days=1))
    assert report == MaterializationReport()


def test_stamps_before_1970_are_no_older_than_nothing(
    online: Online, tmp_path: Path, make: Callable[..., FeatureStore]
) -> None:
    hours = -24 * 365 * 60
    store = make(online, [(1, hours, 1.0), (1, hours - 1, 2.0)])
    first = START + timedelta(hours=hours)
    assert materialize_view(store, "day", first - timedelta(days=1), END).written == 1
    assert read(store, [1]) == [1.0]


@pytest.mark.parametrize("offline", [DUCKDB, ASOF], ids=["duckdb", "asof"])
def test_mapped_columns_and_several_keys(online: Online, tmp_path: Path, offline: Online) -> None:
    frame = pl.DataFrame(
        {
            "Zone": ["z", "z"],
            "num": pl.Series([1, 2], dtype=pl.Int32),
            "when": [START, START],
            "v": [1.0, 2.0],
        }
    )
    path = tmp_path / "rows.parquet"
    frame.write_parquet(path)
    rows = FileSource(
        name="rows",
        path=str(path),
        timestamp_field="when",
        field_mapping={"Zone": "zone", "num": "a_number", "v": "größe"},
    )
    zone = Entity(name="zone_entity", join_keys=["zone"], value_type=ValueType.STRING)
    number = Entity(name="number_entity", join_keys=["a_number"], value_type=ValueType.INT32)
    schema = [
        Field(name="zone", dtype=String),
        Field(name="a_number", dtype=Int32),
        Field(name="größe", dtype=Float64),
    ]
    of = FeatureView(name="sizes", entities=[zone, number], source=rows, schema=schema)
    store = open_store(tmp_path, online, zone, number, of, offline=offline)
    assert materialize_view(store, "sizes", START, END).written == 2
    asked = [{"zone": "z", "a_number": n} for n in (1, 2, 3)]
    found = store.get_online_features(features=["sizes:größe"], entity_rows=asked).to_dict()
    assert found["größe"] == [1.0, 2.0, None]


@pytest.mark.parametrize("offline", [DUCKDB, ASOF], ids=["duckdb", "asof"])
def test_a_view_without_entities(online: Online, tmp_path: Path, offline: Online) -> None:
    rows = source(tmp_path, numbers([(1, 0, 1.0), (1, 5, 2.0)]).drop("key"))
    of = FeatureView(name="day", source=rows, schema=[Field(name="value", dtype=Float64)])
    store = open_store(tmp_path, online, of, offline=offline)
    assert materialize_view(store, "day", START, END).newest_event == START + timedelta(hours=5)
    nobody = [{DUMMY_ENTITY_ID: DUMMY_ENTITY_VAL}]
    found = store.get_online_features(features=["day:value"], entity_rows=nobody).to_dict()
    assert found["value"] == [2.0]


@pytest.mark.filterwarnings("ignore:Batch feature views are experimental:RuntimeWarning")
def test_a_view_that_feast_computes(online: Online, tmp_path: Path) -> None:
    def doubled(rows: Any) -> Any:
        return rows.assign(double=rows["value"] * 2)

    # Feast wants to see the types themselves, also where it unpickles the function.
    doubled.__annotations__ = {"rows": pd.DataFrame, "return": pd.DataFrame}

    of = BatchFeatureView(
        name="day",
        entities=[KEY],
        mode="pandas",
        source=source(tmp_path, numbers([(1, 0, 1.0), (1, 5, 2.0), (2, 0, 4.0)])),
        schema=[Field(name="key", dtype=Int64), Field(name="double", dtype=Float64)],
        udf=doubled,
        udf_string="doubled",
        online=True,
    )
    store = open_store(tmp_path, online, KEY, of, offline={"type": "dask"})
    assert materialize_view(store, "day", START, END).written == 2
    asked = [{"key": 1}, {"key": 2}]
    assert store.get_online_features(features=["day:double"], entity_rows=asked).to_dict()["double"] == [
        4.0,
        8.0,
    ]


def test_a_view_that_is_not_served_is_not_written(server: redis.Redis, port: int, make: Any) -> None:
    store = make(at(port), [(1, 0, 1.0)], online=False)
    engine = store._get_provider().batch_engine
    with pytest.raises(ValueError, match="not configured"):
        materialize_view(store, "day", START, END)
    assert engine.totals == MaterializationReport()
    assert not server.dbsize()


def test_rows_are_taken_in_the_batches_that_the_offline_store_gives(
    server: redis.Redis, port: int, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Job:
        def batches(self) -> Iterator[pa.Table]:
            for number in range(3):
                yield numbers([(number, number, float(number))]).to_arrow()
            yield numbers([]).to_arrow()

        def to_arrow(self) -> pa.Table:
            raise AssertionError("all at once")

    monkeypatch.setattr(AsofOfflineStore, "pull_latest_from_table_or_query", lambda *_, **__: Job())
    store = make(at(port), [(1, 0, 1.0)])
    assert materialize_view(store, "day", START, END).written == 3
    assert read(store, [0, 1, 2]) == [0.0, 1.0, 2.0]


def test_expiry_follows_the_views_ttl(server: redis.Redis, port: int, make: Any) -> None:
    store = make(at(port), [(1, 0, 1.0)], ttl=timedelta(days=3))
    materialize_view(store, "day", START, END)
    (key,) = server.keys("*")
    assert 0 < server.ttl(key) <= 3 * 86_400


# -- what a fault leaves ---------------------------------------------------------------------------


MANY = [(key, key % 24, float(key)) for key in range(20_000)]


def intervals(store: FeatureStore) -> int:
    return len(store.get_feature_view("day").materialization_intervals)


def assert_retried(store: FeatureStore) -> None:
    report = materialize_view(store, "day", START, END)
    assert (report.written, report.skipped) == (20_000, 0)
    assert read(store, [0, 9_999, 19_999]) == [0.0, 9_999.0, 19_999.0]
    assert intervals(store) == 1


@pytest.mark.parametrize("answers", [0, 8, 150])
def test_a_connection_that_drops_in_the_middle(
    server: redis.Redis, port: int, make: Any, answers: int
) -> None:
    with CuttingProxy(port) as proxy:
        store = make(at(proxy.port), MANY)
        proxy.cut_after = answers
        with pytest.raises(StoreError, match="the online store failed"):
            materialize_view(store, "day", START, END)
        assert intervals(store) == 0
        proxy.cut_after = None
        assert_retried(store)


def test_a_server_that_is_killed_and_comes_back_empty(make: Any) -> None:
    with redis_process() as port, redis.Redis(port=port) as client:
        store = make(at(port), MANY)
        os.kill(int(client.info("server")["process_id"]), signal.SIGKILL)
        with pytest.raises(StoreError, match="the online store failed"):
            materialize_view(store, "day", START, END)
        assert intervals(store) == 0
    with redis_process(port=port):
        assert_retried(store)


def test_a_server_that_is_out_of_memory(server: redis.Redis, port: int, make: Any) -> None:
    store = make(at(port), MANY)
    server.config_set("maxmemory", int(server.info("memory")["used_memory"]) + 300_000)
    try:
        with pytest.raises(StoreError, match="out of memory"):
            materialize_view(store, "day", START, END)
        assert intervals(store) == 0
        assert store._get_provider().batch_engine.totals.written < 20_000
    finally:
        server.config_set("maxmemory", 0)
    assert_retried(store)


def test_a_wrong_password_is_not_tried_again(make: Any) -> None:
    with redis_process("--requirepass", "right") as port:
        store = make(at(port, connection_string=f"127.0.0.1:{port},password=wrong-secret"), [(1, 0, 1.0)])
        with pytest.raises(PermanentError, match="refused") as caught:
            materialize_view(store, "day", START, END)
    assert "wrong-secret" not in str(caught.value)
    assert intervals(store) == 0


def test_a_sqlite_file_that_cannot_be_written(
    tmp_path: Path, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make({"type": "sqlite", "path": str(tmp_path / "online.db")}, [(1, 0, 1.0)])
    with sqlite3.connect(tmp_path / "online.db") as other:
        (pages,) = other.execute("PRAGMA page_count").fetchone()
    connection = store._get_provider().online_store._get_conn(store.config)
    connection.execute(f"PRAGMA max_page_count = {pages}")
    many = [(key, 0, float(key)) for key in range(3_000)]
    source(tmp_path, numbers(many))
    with pytest.raises(StoreError, match="full"):
        materialize_view(store, "day", START, END)
    assert intervals(store) == 0
    connection.execute("PRAGMA max_page_count = 1073741823")
    assert materialize_view(store, "day", START, END).written == 3_000
    assert read(store, [0, 2_999]) == [0.0, 2_999.0]
    assert intervals(store) == 1


def test_values_that_do_not_fit_are_refused_before_the_interval_is_recorded(
    online: Online, tmp_path: Path
) -> None:
    frame = numbers([(1, 0, 1.0)]).with_columns(value=pl.lit("text"))
    store = open_store(tmp_path, online, KEY, day_view(source(tmp_path, frame)))
    with pytest.raises(DataError, match="cannot store"):
        materialize_view(store, "day", START, END)
    assert intervals(store) == 0


# -- configuration ---------------------------------------------------------------------------------


def test_another_engine_has_no_report(server: redis.Redis, port: int, tmp_path: Path) -> None:
    view = day_view(source(tmp_path, numbers([(1, 0, 1.0)])))
    store = open_store(tmp_path, at(port), KEY, view, engine="local")
    with pytest.raises(SpecError, match="LocalComputeEngine does not report") as caught:
        materialize_view(store, "day", START, END)
    assert ENGINE in caught.value.fix


def test_a_cluster_is_written_by_feast_itself(
    server: redis.Redis, port: int, make: Any, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    """As Feast's own Redis store, whose comparison would keep an equally old row."""
    monkeypatch.setattr(materialization_engine, "takes", lambda _: False)
    monkeypatch.setattr(redis_writer, "RedisWriter", None)
    store = make(at(port), [(1, 0, 1.0), (2, 5, 2.0)])
    with caplog.at_level(logging.WARNING):
        assert materialize_view(store, "day", START, END).written == 2
    assert "written by Feast's own client" in caplog.text
    assert materialize_view(store, "day", START, END).written == 2
    early = materialize_view(store, "day", START, START + timedelta(hours=1))
    assert (early.written, early.skipped) == (1, 0)
    assert read(store, [1, 2]) == [1.0, 2.0]


def test_feasts_own_write_fails_with_our_errors(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(materialization_engine, "takes", lambda _: False)
    monkeypatch.setattr(RedisOnlineStore, "update", lambda *_, **__: None)
    store = make(at(1, connection_string="127.0.0.1:1,socket_connect_timeout=0.2"), [(1, 0, 1.0)])
    with pytest.raises(StoreError, match="the online store failed"):
        materialize_view(store, "day", START, END)


def test_the_generic_path_writes_bounded_batches(
    tmp_path: Path, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []
    real = generic_writer.write_newer

    def spy(*arguments: Any) -> Any:
        sizes.append(len(arguments[3]))
        return real(*arguments)

    monkeypatch.setattr(generic_writer, "write_newer", spy)
    monkeypatch.setattr(generic_writer, "BATCH_ROWS", 10)
    store = make({"type": "sqlite", "path": str(tmp_path / "online.db")}, MANY[:35])
    assert materialize_view(store, "day", START, END).written == 35
    assert sizes == [10, 10, 10, 5]
    assert isinstance(
        store._get_provider().batch_engine._writer(store.get_feature_view("day"), {}), GenericWriter
    )


def test_reports_add_up() -> None:
    total = (
        MaterializationReport(1, 2, 3, START) + MaterializationReport(10, 20, 30) + MaterializationReport()
    )
    assert total == MaterializationReport(11, 22, 33, START)
    assert (
        MaterializationReport(newest_event=START) + MaterializationReport(newest_event=END)
    ).newest_event == END

"""Reading the prediction log: windows at their edges, one prediction among many, files that are none."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from windtunnel.errors import DataError, RequestError
from windtunnel.objects import ObjectStore, open_store
from windtunnel.prediction_log.frames import schema
from windtunnel.prediction_log.keys import object_key
from windtunnel.prediction_log.reading import find, read, scan

if TYPE_CHECKING:
    from pathlib import Path

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return open_store(str(tmp_path), {})


def id_of(moment: datetime, number: int = 0) -> str:
    head = f"{round(moment.timestamp() * 1000):012x}"
    return f"{head[:8]}-{head[8:]}-7000-8000-{number:012x}"


def logged(moment: datetime, number: int = 0, version: str = "1", **changed: Any) -> dict[str, Any]:
    return {
        "prediction_id": id_of(moment, number),
        "row": 0,
        "time": moment,
        "version": version,
        "digest": f"sha256:{version}",
        "role": "champion",
        "key": "mine",
        "entities": {"carrier": "UA", "route_id": 7},
        "event_time": moment,
        "features": {"b": 1.5, "a": None},
        "missing": 1,
        "stale": False,
        "prediction": 0.25,
        "latency_seconds": 0.001,
        "writer": "pod-1",
        **changed,
    }


def write(
    store: ObjectStore, sequence: int, *rows: dict[str, Any], features: tuple[str, ...] = ("b", "a")
) -> str:
    """A file with these rows in the hour of the first."""
    keys = {"carrier": "STRING", "route_id": "INT64"} if rows[0]["entities"] else {}
    buffer = io.BytesIO()
    pl.DataFrame(list(rows), schema=schema(features, keys)).write_parquet(buffer)
    key = object_key(
        "demo", int(rows[0]["time"].timestamp() // 3600), "pod-1", sequence, str(rows[0]["digest"])
    )
    store.put(key, buffer.getvalue())
    return key


def test_a_window_begins_with_its_start_and_ends_before_its_end(store: ObjectStore) -> None:
    step = timedelta(milliseconds=1)
    hour = timedelta(hours=1)
    for sequence, moment in enumerate((NOON - step, NOON, NOON + hour - step, NOON + hour)):
        write(store, sequence, logged(moment, sequence))
    (frame,) = read(store, "demo", NOON, NOON + hour).values()
    assert frame["time"].to_list() == [NOON, NOON + hour - step]
    assert frame.columns == list(schema((), {}))
    assert frame.schema == schema(("b", "a"), {"carrier": "STRING", "route_id": "INT64"})
    assert read(store, "demo", NOON, NOON) == {}
    assert read(store, "other", NOON - hour, NOON + hour) == {}


def test_versions_with_other_features_come_apart(store: ObjectStore) -> None:
    write(store, 1, logged(NOON))
    write(store, 2, logged(NOON, 1, "2", entities=None, features={"c": 3.0}), features=("c",))
    write(store, 3, logged(NOON, 2))
    frames = read(store, "demo", NOON, NOON + timedelta(hours=1), ["features", "version"])
    assert frames["sha256:1"].unnest("features").to_dicts() == [{"b": 1.5, "a": None, "version": "1"}] * 2
    assert frames["sha256:2"].unnest("features").to_dicts() == [{"c": 3.0, "version": "2"}]


def test_columns_come_in_the_order_that_is_asked_for(store: ObjectStore) -> None:
    write(store, 1, logged(NOON))
    (frame,) = scan(store, "demo", NOON, NOON + timedelta(hours=1), ["prediction", "row"])
    assert_frame_equal(frame, pl.DataFrame({"prediction": [0.25], "row": pl.Series([0], dtype=pl.Int32)}))
    with pytest.raises(RequestError, match="has no column predictions"):
        next(scan(store, "demo", NOON, NOON + timedelta(hours=1), ["predictions"]))
    with pytest.raises(RequestError, match="has no time zone"):
        next(scan(store, "demo", NOON.replace(tzinfo=None), NOON))


def test_finds_all_roles_and_rows_of_an_id(store: ObjectStore) -> None:
    write(store, 1, *(logged(NOON, number) for number in range(50)))
    write(store, 2, logged(NOON, 7, "2", role="shadow"), logged(NOON, 8, "2", role="shadow"))
    key = write(
        store, 3, logged(NOON, 99, role="fallback"), logged(NOON, 99, role="fallback", row=1, key=None)
    )
    found = find(store, id_of(NOON, 7), "demo")
    assert [(row.role, row.version, row.row) for row in found] == [("champion", "1", 0), ("shadow", "2", 0)]
    assert found[0].features == {"b": 1.5, "a": None}
    assert list(found[0].features) == ["b", "a"]
    assert (found[0].time, found[0].entities) == (NOON, {"carrier": "UA", "route_id": 7})
    batch = find(store, id_of(NOON, 99).upper())
    assert [(row.row, row.key, row.object_key) for row in batch] == [(0, "mine", key), (1, None, key)]
    assert find(store, id_of(NOON, 1000)) == []
    assert find(store, id_of(NOON - timedelta(hours=1), 7)) == []


def test_looks_only_at_the_end_of_files_that_cannot_hold_it(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for sequence in range(20):
        moment = NOON + timedelta(minutes=sequence)
        rows = [logged(moment, number, key=f"{number * 7919}") for number in range(3000)]
        write(store, sequence, *rows)
    read_bytes: list[int] = []
    whole = ObjectStore.get_range

    def counted(self: ObjectStore, key: str, start: int, length: int) -> bytes:
        read_bytes.append(length)
        return whole(self, key, start, length)

    monkeypatch.setattr(ObjectStore, "get_range", counted)
    (row,) = find(store, id_of(NOON + timedelta(minutes=5), 2000), "demo")
    assert row.key == f"{2000 * 7919}"
    stored = sum(entry.size for entry in store.list("demo"))
    assert sum(read_bytes) < stored / 3 + 20 * 32768


@pytest.mark.parametrize("content", [b"", b"no parquet", b"PAR1" * 5])
def test_a_file_that_is_none_of_the_log_is_named(store: ObjectStore, content: bytes) -> None:
    key = write(store, 1, logged(NOON))
    store.put(key, content)
    with pytest.raises(DataError, match="no file of a prediction log") as error:
        find(store, id_of(NOON), "demo")
    assert error.value.where == key
    buffer = io.BytesIO()
    pl.DataFrame({"a": [1]}).write_parquet(buffer)
    store.put(key, buffer.getvalue())
    with pytest.raises(DataError, match="it has no prediction_id"):
        read(store, "demo", NOON, NOON + timedelta(hours=1))

"""Asking by entity: features come from a real Redis, and what is missing or too old is said."""

from __future__ import annotations

import copy
import struct
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import redis
from cutting_proxy import CuttingProxy
from redis_process import redis_process
from served_bundle import LIFECYCLE, VIEWS, answers, make_version, served_model, tensor, write_served_model
from serving_process import ServingProcess

from windtunnel.features.online.online_layout import entity_key_head, feature_field
from windtunnel.objects import open_store
from windtunnel.prediction_log.reading import find

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WRITTEN = datetime(2013, 2, 11, 12, tzinfo=UTC)


def double(value: float) -> bytes:
    return b"\x29" + struct.pack("<d", value)


def stamp(moment: datetime) -> bytes:
    number, out = int(moment.timestamp()), b"\x08"
    while number >= 0x80:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])


def carrier_key(carrier: str) -> bytes:
    value = struct.pack("<II", 2, len(carrier)) + carrier.encode()
    return entity_key_head(["carrier"]) + value + LIFECYCLE.encode()


@pytest.fixture(scope="module")
def redis_port() -> Iterator[int]:
    """A Redis in which only UA's carrier_day was written."""
    with redis_process() as port:
        with redis.Redis(port=port) as client:
            fields = {
                b"_ts:carrier_day": stamp(WRITTEN),
                feature_field("carrier_day", "carrier_delay"): double(0.25),
                feature_field("carrier_day", "carrier_flights"): b"\x20\x02",
            }
            client.hset(carrier_key("UA"), mapping=fields)
            client.hset(carrier_key("broken"), mapping=fields | {b"_ts:carrier_day": b"\x08"})
        yield port


@contextmanager
def serving(directory: Path, port: int, views: list[dict[str, Any]] = VIEWS) -> Iterator[ServingProcess]:
    store = open_store(str(directory / "store"), {})
    file = directory / "served.json"
    write_served_model(file, served_model(make_version(store, "1", 1.0, views=views)))
    online_store = f"redis://127.0.0.1:{port}/0"
    with ServingProcess(file, directory / "store", online_store=online_store) as process:
        process.wait_for("/v2/health/ready")
        yield process


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, redis_port: int) -> Iterator[ServingProcess]:
    with serving(tmp_path_factory.mktemp("online"), redis_port) as process:
        yield process


def by_entity(carriers: list[str], **parameters: str) -> dict[str, Any]:
    rows = len(carriers)
    return {
        "parameters": parameters,
        "inputs": [
            tensor("carrier", "BYTES", carriers),
            tensor("route_id", "INT64", [7] * rows),
            tensor("hour", "FP64", [0.5] * rows),
            tensor("distance", "FP64", [-1.0] * rows),
        ],
    }


def test_answers_with_the_features_of_the_entity(server: ServingProcess) -> None:
    status, answer = server.infer(by_entity(["UA", "??", "UA"], event_timestamp="2013-02-11T18:00:00Z"))
    assert status == 200
    known, unknown = answers([[0.25, 2, 0, 0.5, -1], [0, 0, 0, 0.5, -1]], 1.0)
    assert answer["outputs"][0]["data"] == pytest.approx([known, unknown, known], abs=1e-6)
    # three routes and one carrier are unknown
    assert answer["parameters"]["missing_features"] == 3 + 2
    assert answer["parameters"]["stale_features"] == 0


def test_features_past_their_ttl_are_missing_and_counted(server: ServingProcess) -> None:
    answer = server.infer(by_entity(["UA"]))[1]
    assert answer["parameters"]["missing_features"] == 3
    assert answer["parameters"]["stale_features"] == 2
    assert answer["outputs"][0]["data"] == pytest.approx(answers([[0, 0, 0, 0.5, -1]], 1.0), abs=1e-6)


@pytest.mark.parametrize(("after", "stale"), [(timedelta(hours=24), 0), (timedelta(hours=24, seconds=1), 2)])
def test_age_counts_from_the_event_timestamp(server: ServingProcess, after: timedelta, stale: int) -> None:
    moment = (WRITTEN + after).isoformat()
    assert server.infer(by_entity(["UA"], event_timestamp=moment))[1]["parameters"]["stale_features"] == stale


@pytest.mark.parametrize("moment", ["yesterday", "2013-02-11T18:00:00", "1360605600"])
def test_an_event_timestamp_needs_a_date_and_a_time_zone(server: ServingProcess, moment: str) -> None:
    status, answer = server.infer(by_entity(["UA"], event_timestamp=moment))
    assert status == 400
    assert "event_timestamp" in answer["error"]


def test_defaults_of_the_feature_service_stand_in(tmp_path: Path, redis_port: int) -> None:
    views = copy.deepcopy(VIEWS)
    views[0]["features"][1]["default"] = 3
    views[1]["features"][0]["default"] = -0.5
    with serving(tmp_path, redis_port, views) as server:
        known = server.infer(by_entity(["UA"], event_timestamp="2013-02-11T18:00:00Z"))[1]
        assert known["outputs"][0]["data"] == pytest.approx(
            answers([[0.25, 2, -0.5, 0.5, -1]], 1.0), abs=1e-6
        )
        assert known["parameters"]["missing_features"] == 1
        old = server.infer(by_entity(["UA"]))[1]
        assert old["outputs"][0]["data"] == pytest.approx(answers([[0, 3, -0.5, 0.5, -1]], 1.0), abs=1e-6)
        # what a default replaces was missing, and too old, all the same
        assert old["parameters"]["missing_features"] == 3
        assert old["parameters"]["stale_features"] == 2


def test_what_the_store_does_to_one_request_others_do_not_notice(tmp_path: Path, redis_port: int) -> None:
    expected = answers([[0.25, 2, 0, 0.5, -1], [0, 0, 0, 0.5, -1]], 1.0)
    bodies = [by_entity([carrier], event_timestamp="2013-02-11T18:00:00Z") for carrier in ("UA", "nobody")]
    with CuttingProxy(redis_port) as proxy, serving(tmp_path, proxy.port) as server:

        def ask(number: int) -> int:
            status, answer = server.infer(bodies[number % 2])
            if status == 200:
                assert answer["outputs"][0]["data"][0] == pytest.approx(expected[number % 2], abs=1e-6)
            else:
                assert "send the feature vector" in answer["error"]
            return status

        assert ask(0) == 200
        proxy.cut_every = 701
        with ThreadPoolExecutor(16) as threads:
            statuses = list(threads.map(ask, range(400)))
        assert set(statuses) <= {200, 503}
        assert statuses.count(200) > 200
        assert proxy.connections > 5
        proxy.cut_every = None
        proxy.stalled.set()
        assert ask(0) == 503
        proxy.stalled.clear()
        assert ask(0) == 200
        proxy.cut()
        assert ask(1) == 200


def test_a_damaged_value_is_the_servers_fault(server: ServingProcess) -> None:
    status, answer = server.infer(by_entity(["broken"]))
    assert status == 500
    assert "materialize" in answer["error"]


def test_features_are_logged_as_the_model_got_them(tmp_path: Path, redis_port: int) -> None:
    """Row by row: read, defaulted, too old, left out by the caller."""
    views = copy.deepcopy(VIEWS)
    views[0]["features"][1]["default"] = 3
    asked_at = datetime.now(UTC)
    with serving(tmp_path, redis_port, views) as server:
        batch = by_entity(["UA", "??"], event_timestamp="2013-02-11T18:00:00.000001Z")
        batch["inputs"][2]["data"] = [None, 0.5]
        several = server.infer(batch)[1]["parameters"]["prediction_id"]
        one = server.infer(by_entity(["UA"]))[1]["parameters"]["prediction_id"]
        vector = server.infer(
            {
                "parameters": {"event_timestamp": "2013-02-11T18:00:00+01:00"},
                "inputs": [tensor("features", "FP64", [1, 2, None, 4, 5], [1, 5])],
            }
        )[1]["parameters"]["prediction_id"]
    store = open_store(str(tmp_path / "store"), {})
    first, second = find(store, several, LIFECYCLE)
    assert list(first.features.values()) == [0.25, 2, None, None, -1]
    assert list(second.features.values()) == [None, 3, None, 0.5, -1]
    assert (first.missing, second.missing) == (2, 3)
    assert (first.stale, second.stale) == (False, False)
    assert (first.entities, second.entities) == (
        {"carrier": "UA", "route_id": 7}, {"carrier": "??", "route_id": 7},
    )  # fmt: skip
    assert first.event_time == second.event_time == WRITTEN.replace(hour=18, microsecond=1)
    (old,) = find(store, one, LIFECYCLE)
    assert list(old.features.values()) == [None, 3, None, 0.5, -1]
    assert (old.missing, old.stale) == (3, True)
    assert old.event_time is not None
    assert asked_at <= old.event_time <= datetime.now(UTC)
    (sent,) = find(store, vector, LIFECYCLE)
    assert (sent.entities, sent.stale, sent.missing) == (None, None, 1)
    assert sent.event_time == WRITTEN.replace(hour=17)

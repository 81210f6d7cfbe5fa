"""Asking by entity: features come from a real Redis, and what is missing or too old is said."""

from __future__ import annotations

import struct
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import redis
from redis_process import BINARY, MISSING, redis_process
from served_bundle import LIFECYCLE, answers, make_version, served_model, tensor, write_served_model
from serving_process import ServingProcess

from windtunnel.features.online_layout import entity_key_head, feature_field
from windtunnel.objects import open_store

if TYPE_CHECKING:
    from collections.abc import Iterator

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
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServingProcess]:
    """Serves beside a Redis in which only UA's carrier_day was written."""
    if not BINARY:
        pytest.skip(MISSING)
    directory = tmp_path_factory.mktemp("online")
    store = open_store(str(directory / "store"), {})
    file = directory / "served.json"
    write_served_model(file, served_model(make_version(store, "1", 1.0)))
    with redis_process() as port:
        with redis.Redis(port=port) as client:
            fields = {
                b"_ts:carrier_day": stamp(WRITTEN),
                feature_field("carrier_day", "carrier_delay"): double(0.25),
                feature_field("carrier_day", "carrier_flights"): b"\x20\x02",
            }
            client.hset(carrier_key("UA"), mapping=fields)
        online_store = f"redis://127.0.0.1:{port}/0"
        with ServingProcess(file, directory / "store", online_store=online_store) as process:
            process.wait_for("/v2/health/ready")
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

"""A rollback to a version that is warm: one change of the ServedModel, no load, no failed request."""

from __future__ import annotations

import re
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from served_bundle import answers, make_version, matrix_request, served_model, write_served_model
from serving_process import ServingProcess
from waiting import HANG, until

from windtunnel.objects import ObjectStore, open_store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from windtunnel.spec.servedmodel import ModelVersion

ROW = [0.1, 2.0, 0.3, 4.0, 0.5]
WEIGHTS = {"1": 1.0, "2": 0.5, "3": 0.25}


class Served:
    """A serving process whose ServedModel has a history."""

    def __init__(self, directory: Path) -> None:
        self.store: ObjectStore = open_store(str(directory / "store"), {})
        self.versions = {name: make_version(self.store, name, weight) for name, weight in WEIGHTS.items()}
        self.file = directory / "served.json"
        self.generation = 0
        self.process = ServingProcess(self.file, directory / "store")

    def seat(self, *line: str, keep_warm: int = 1) -> None:
        """Give the last of these the seat; they had it one after the other."""
        self.generation += 1
        value = served_model(self.versions[line[-1]], self.generation)
        value["spec"]["keepWarm"] = keep_warm
        value["spec"]["history"] = [
            self.versions[name].model_dump(mode="json")
            | {"number": number, "action": "promotion", "at": "2026-03-01T00:00:00Z"}
            for number, name in enumerate(line, 1)
        ]
        write_served_model(self.file, value)

    def lose(self, version: ModelVersion) -> None:
        """Take its files out of the store: whoever loads it now, fails."""
        for entry in self.store.list(self.store.key(version.bundle)):
            self.store.delete(entry.key)

    def parameters(self) -> dict[str, Any]:
        said: dict[str, Any] = self.process.get("/v2/models/flight_delay")[1]["parameters"]
        return said

    def wait_for(self, champion: str, **warm: str) -> dict[str, Any]:
        """What it says of itself once that champion serves and the warm versions are in those states."""
        deadline = time.monotonic() + HANG
        while True:
            said = self.parameters()
            states = {f"v{one['version']}": one["state"] for one in said["warm"]}
            if (said["champion"], said["generation"], states) == (champion, self.generation, warm):
                return said
            assert time.monotonic() < deadline, (said, self.process.log)
            time.sleep(0.02)

    def counted(self, sample: str) -> float:
        text = self.process.get("/metrics")[1]
        found = re.search(rf"^windtunnel_serving_{re.escape(sample)} (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else 0.0


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    served = Served(tmp_path)
    served.seat("1")
    with served.process as process:
        process.wait_for("/v2/health/ready")
        yield served


LOADS = 'loads_total{model="flight_delay",outcome="ok"}'
WARM_LOADS = 'warm_loads_total{model="flight_delay",outcome="ok"}'


def test_a_rollback_under_load_loads_nothing_and_fails_nobody(served: Served) -> None:
    seen: list[tuple[int, Any]] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            seen.append(served.process.infer(matrix_request(ROW)))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        served.seat("1", "2")
        served.wait_for("2", v1="Ready")
        served.lose(served.versions["1"])
        served.lose(served.versions["2"])
        for _ in range(5):
            served.seat("1", "2", "1")
            served.wait_for("1", v2="Ready")
            served.seat("1", "2")
            served.wait_for("2", v1="Ready")
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert {status for status, _ in seen} == {200}
    for _, answer in seen:
        expected = answers([ROW], WEIGHTS[answer["model_version"]])
        assert answer["outputs"][0]["data"] == pytest.approx(expected, abs=1e-6)
    assert served.counted(LOADS) == 2
    assert served.counted(WARM_LOADS) == 0


def test_after_a_restart_former_champions_are_loaded_in_the_background(tmp_path: Path) -> None:
    served = Served(tmp_path)
    served.seat("1", "2", "3", keep_warm=2)
    with served.process as process:
        process.wait_for("/v2/health/ready")
        said = served.wait_for("3", v2="Ready", v1="Ready")
        assert [one["version"] for one in said["warm"]] == ["2", "1"]
        assert all(one["mib"] is not None for one in said["warm"])
        # model_info and model_bytes of two versions
        assert process.get("/metrics")[1].count('role="warm",version=') == 4
        for version in served.versions.values():
            served.lose(version)
        served.seat("1", "2", "3", "1", keep_warm=2)
        served.wait_for("1", v3="Ready", v2="Ready")
        assert process.infer(matrix_request(ROW))[1]["model_version"] == "1"
        assert (served.counted(LOADS), served.counted(WARM_LOADS)) == (1, 2)
        # what is kept warm is not what is served
        assert process.infer(matrix_request(ROW), version="3")[0] == 404


def test_one_that_is_gone_from_the_store_is_no_reason_to_be_less_ready(tmp_path: Path) -> None:
    served = Served(tmp_path)
    served.lose(served.versions["1"])
    served.seat("1", "2")
    with served.process as process:
        process.wait_for("/v2/health/ready")
        said = served.wait_for("2", v1="Failed")
        assert "manifest.json" in said["warm"][0]["message"]
        assert said["failure"] is None
        assert process.get("/v2/health/ready")[0] == 200


def test_none_is_kept_where_the_spec_says_none(served: Served) -> None:
    served.seat("1", "2", keep_warm=0)
    served.wait_for("2")
    served.lose(served.versions["1"])
    served.seat("1", "2", "1", keep_warm=0)
    until(lambda: served.parameters()["failure"])
    said = served.parameters()
    assert (said["failure"]["version"], said["champion"]) == ("1", "2")

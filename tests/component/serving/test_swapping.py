"""A ServedModel changes while requests come: nobody notices a good version, and a bad one never answers."""

from __future__ import annotations

import signal
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


class Served:
    """A serving process, and the means to promote."""

    def __init__(self, directory: Path, *arguments: str) -> None:
        self.store: ObjectStore = open_store(str(directory / "store"), {})
        self.file = directory / "served.json"
        self.generation = 0
        self.process = ServingProcess(self.file, directory / "store", arguments=arguments)

    def promote(self, champion: ModelVersion) -> None:
        self.generation += 1
        write_served_model(self.file, served_model(champion, self.generation))

    def parameters(self) -> dict[str, Any]:
        answer: dict[str, Any] = self.process.get("/v2/models/flight_delay")[1]["parameters"]
        return answer

    def wait_for_generation(self) -> dict[str, Any]:
        """What the process says of itself once it has acted on the last promotion."""
        until(lambda: self.parameters()["generation"] == self.generation, lambda: self.process.log)
        return self.parameters()

    def version(self) -> tuple[int, str]:
        status, answer = self.process.infer(matrix_request(ROW))
        return status, answer["model_version"] if status == 200 else answer["error"]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    served = Served(tmp_path)
    served.promote(make_version(served.store, "1", 1.0))
    with served.process as process:
        process.wait_for("/v2/health/ready")
        yield served


def test_a_promotion_drops_no_request_and_answers_change_once(served: Served) -> None:
    seen: list[tuple[int, Any]] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            seen.append(served.process.infer(matrix_request(ROW)))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    until(lambda: len(seen) > 20)
    served.promote(make_version(served.store, "2", 0.5))
    said = served.wait_for_generation()
    settled = len(seen)
    until(lambda: len(seen) > settled + 20)
    stop.set()
    for thread in threads:
        thread.join()
    assert said["champion"] == "2"
    assert {status for status, _ in seen} == {200}
    weights = {"1": 1.0, "2": 0.5}
    for _, answer in seen:
        expected = answers([ROW], weights[answer["model_version"]])
        assert answer["outputs"][0]["data"] == pytest.approx(expected, abs=1e-6)
    assert seen[0][1]["model_version"] == "1"
    # those that were under way when it changed may be told of late
    assert {answer["model_version"] for _, answer in seen[settled + len(threads) :]} == {"2"}


def test_a_tampered_bundle_is_never_served(served: Served) -> None:
    bad = make_version(served.store, "2", 0.5)
    key = served.store.key(bad.bundle) + "/model.onnx"
    served.store.put(key, served.store.get(key)[:-1] + b"?")
    served.promote(bad)
    failure = served.wait_for_generation()["failure"]
    assert (failure["version"], failure["reason"]) == ("2", "IntegrityError")
    assert served.version() == (200, "1")
    assert served.process.get("/v2/health/ready")[0] == 200
    assert (
        'windtunnel_serving_loads_total{model="flight_delay",outcome="IntegrityError"} 1.0'
        in (served.process.get("/metrics")[1])
    )


def test_a_bundle_that_answers_its_golden_requests_differently_is_never_served(served: Served) -> None:
    served.promote(make_version(served.store, "2", 0.5, golden=[0.5, 0.7]))
    failure = served.wait_for_generation()["failure"]
    assert "golden requests are answered differently" in failure["message"]
    assert served.version() == (200, "1")


def test_a_bundle_that_is_not_there_is_no_reason_to_stop(served: Served) -> None:
    good = make_version(served.store, "2", 0.5)
    served.promote(good.model_copy(update={"bundle": good.bundle[:-4] + "0000"}))
    assert served.wait_for_generation()["failure"]["reason"] == "NotFoundError"
    assert served.version() == (200, "1")
    served.promote(good)
    assert served.wait_for_generation()["failure"] is None
    assert served.version() == (200, "2")


def test_a_file_that_is_no_served_model_is_no_reason_to_stop(served: Served) -> None:
    for content in ("{", "[]", '{"metadata": {}}', ""):
        served.file.write_text(content)
        time.sleep(0.4)
        assert served.version() == (200, "1")
    served.promote(make_version(served.store, "2", 0.5))
    served.wait_for_generation()
    assert served.version() == (200, "2")


def test_before_the_first_load_it_says_that_it_is_not_ready(tmp_path: Path) -> None:
    served = Served(tmp_path)
    good = make_version(served.store, "1", 1.0)
    served.promote(good.model_copy(update={"digest": "sha256:" + "0" * 64}))
    with served.process as process:
        process.wait_for("/v2/health/live")
        assert "promised" in served.wait_for_generation()["failure"]["message"]
        status, answer = process.get("/v2/health/ready")
        assert (status, answer["ready"]) == (503, False)
        assert "promised" in answer["reason"]
        assert process.infer(matrix_request(ROW))[0] == 503
        served.promote(good)
        process.wait_for("/v2/health/ready")


def test_on_sigterm_it_stops_being_ready_answers_on_and_ends_well(tmp_path: Path) -> None:
    # long enough to be seen draining on a busy machine
    served = Served(tmp_path, "--drain-seconds", "3")
    served.promote(make_version(served.store, "1", 1.0))
    with served.process as process:
        process.wait_for("/v2/health/ready")
        process.process.send_signal(signal.SIGTERM)
        process.wait_for("/v2/health/ready", status=503)
        assert served.version() == (200, "1")
        assert process.process.wait(HANG) == 0
        assert "ended" in process.log

"""A whole rollout beside a real serving process: the stage's driver, the controller's guard and status, and
callers who notice nothing."""

from __future__ import annotations

import http.client
import json
import logging
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from served_bundle import LIFECYCLE, make_version, matrix_request
from serving_process import ServingProcess
from waiting import HANG, until

from windtunnel.controller.challenger_guard import ChallengerGuard
from windtunnel.controller.scrape import Scraper
from windtunnel.controller.status import PodView, guard_view, observed
from windtunnel.objects import open_store
from windtunnel.rollout.driving import Driver, Refused
from windtunnel.rollout.moves import Plan
from windtunnel.rollout.promotion import Candidate, Promoted, promote
from windtunnel.rollout.served_models import DirectoryServedModels
from windtunnel.spec.servedmodel import GuardSettings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from windtunnel.spec.servedmodel import ModelVersion, ServedModel, ServedModelStatus

NAME = "flight-delay"
ROW = [0.1, 2.0, 0.3, 4.0, 0.5]
CALLERS = 2


class Cluster(DirectoryServedModels):
    """ServedModels in a directory, and a controller that says in their status what one pod tells it."""

    settles = True

    def __init__(self, directory: Path, port: int) -> None:
        super().__init__(directory)
        self._port = port
        self.guard = ChallengerGuard(self, Scraper(port))
        self.guard.pods = {"pod": "127.0.0.1"}
        self.status: ServedModelStatus | None = None

    def get(self, name: str) -> ServedModel | None:
        found = super().get(name)
        return found and found.model_copy(update={"status": self.status})

    def look(self) -> None:
        """What the controller does each second."""
        model = self.get(NAME)
        assert model is not None
        self.guard.look(model.to_object())
        pod = {
            "metadata": {"name": "pod"},
            "status": {"podIP": "127.0.0.1", "conditions": [{"type": "Ready", "status": "True"}]},
        }
        view = PodView.from_pod(pod, ask(self._port))
        guard = guard_view(model, self.guard.view)
        self.status = observed(model, self.status, None, [view], datetime.now(UTC), guard)

    @contextmanager
    def looking(self) -> Iterator[None]:
        stop = threading.Event()

        def repeat() -> None:
            while not stop.wait(0.5):
                self.look()

        thread = threading.Thread(target=repeat)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


def ask(port: int) -> dict[str, object]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=HANG)
    connection.request("GET", f"/v2/models/{LIFECYCLE}")
    answer: dict[str, dict[str, object]] = json.loads(connection.getresponse().read())
    connection.close()
    return answer["parameters"]


@contextmanager
def callers(port: int) -> Iterator[list[tuple[int, str]]]:
    """Each asks as fast as it is answered, a key of its own each time; yields statuses and versions."""
    came: list[tuple[int, str]] = []
    stop = threading.Event()

    def call(caller: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=HANG)
        number = 0
        while not stop.wait(0.004):
            body = json.dumps(matrix_request(ROW, key=f"{caller}-{number}"))
            connection.request("POST", f"/v2/models/{LIFECYCLE}/infer", body)
            with connection.getresponse() as response:
                came.append((response.status, json.loads(response.read())["model_version"]))
            number += 1
        connection.close()

    threads = [threading.Thread(target=call, args=(number,)) for number in range(CALLERS)]
    for thread in threads:
        thread.start()
    try:
        yield came
    finally:
        stop.set()
        for thread in threads:
            thread.join()


class Rollout:
    """Version 1 serves; `drive` rolls another one out."""

    def __init__(self, directory: Path) -> None:
        self.store = open_store(str(directory / "store"), {})
        served = directory / "served"
        first = self.candidate(make_version(self.store, "1", 1.0), None)
        promote(DirectoryServedModels(served), first, datetime.now(UTC))
        self.process = ServingProcess(
            served / f"{NAME}.json", directory / "store", arguments=("--challenger-memory-mib", "300")
        )
        self.cluster = Cluster(served, self.process.port)

    @staticmethod
    def candidate(version: ModelVersion, expected: str | None) -> Candidate:
        return Candidate(
            lifecycle=LIFECYCLE,
            champion=version,
            expected_champion=expected,
            run_id=f"run-{version.version}",
            by="tests",
        )

    def drive(self, version: ModelVersion, shadow: int = 100) -> Promoted | Refused:
        # a busy machine must not decide: the latency has tests of its own
        guard = GuardSettings(error_margin=0.05, max_latency_ratio=100.0)
        plan = Plan(
            version,
            "1",
            f"run-{version.version}",
            shadow=shadow,
            steps=(20, 50),
            requests=50,
            step_timeout=timedelta(minutes=2),
            settings={"guard": guard},
        )
        log = logging.getLogger("windtunnel.stage")
        return Driver(self.cluster, self.candidate(version, "1"), plan, log).drive()

    @property
    def model(self) -> ServedModel:
        found = self.cluster.get(NAME)
        assert found is not None
        return found


@pytest.fixture
def rollout(tmp_path: Path) -> Iterator[Rollout]:
    rollout = Rollout(tmp_path)
    with rollout.process as process:
        process.wait_for("/v2/health/ready")
        with rollout.cluster.looking():
            yield rollout


def test_a_sound_challenger_earns_the_seat_and_no_request_fails(rollout: Rollout) -> None:
    with callers(rollout.process.port) as came:
        done = rollout.drive(make_version(rollout.store, "2", 1.01))
        # the step of 50 % answers with either: the seat is seen by a run of answers, all of one
        assert isinstance(done, Promoted), done
        until(lambda: {version for _, version in came[-100:]} == {"2"})
    assert {status for status, _ in came} == {200}
    shares = [version for _, version in came]
    assert shares.count("2") >= 50
    assert rollout.model.spec.champion.version == "2"


def test_predictions_turned_round_are_refused_with_the_guard_s_reason(rollout: Rollout) -> None:
    with callers(rollout.process.port) as came:
        done = rollout.drive(make_version(rollout.store, "2", -1.0), shadow=100_000)
    assert isinstance(done, Refused), done
    assert done.reason.startswith("PredictionShift")
    assert {status for status, _ in came} == {200}
    assert {version for _, version in came} == {"1"}  # it was found in the shadow, that was long enough
    assert [act.action for act in rollout.model.spec.history] == ["promotion", "taken_back"]


def test_a_bundle_that_the_pods_reject_is_refused_with_their_reason(rollout: Rollout) -> None:
    done = rollout.drive(make_version(rollout.store, "2", 1.0, golden=[0.1, 0.9]))
    assert isinstance(done, Refused), done
    assert done.reason.startswith("Rejected")
    assert rollout.model.spec.champion.version == "1"

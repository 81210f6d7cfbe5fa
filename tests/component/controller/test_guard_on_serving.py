"""The guard beside a real serving process with a challenger that misbehaves under load: users notice nothing,
and its traffic is gone within seconds of its first bad answer."""

from __future__ import annotations

import http.client
import json
import os
import signal
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from canary import children_of
from misbehaving import make_misbehaving
from served_bundle import LIFECYCLE, make_version, matrix_request, served_model, write_served_model
from serving_process import ServingProcess

from windtunnel.controller.challenger_guard import ChallengerGuard
from windtunnel.controller.scrape import Scraper
from windtunnel.objects import open_store
from windtunnel.rollout.served_models import DirectoryServedModels
from windtunnel.rollout.taking_back import why_taken_back

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from windtunnel.spec.servedmodel import ModelVersion, ServedModel

QUIET_ROW = [0.1, 2.0, 0.3, 4.0, 0.5]
LOUD_ROW = [0.1, 2.0, 0.3, 4.0, 5e6]
"""Drives a misbehaving model mad."""
SLOW_ROW = [0.1, 2.0, 0.3, 4.0, 3e4]
LOW_ROW = [-0.1, -2.0, -0.3, -4.0, 0.5]
"""The champion's answer to it is near 0, and so the opposite of what it says of the quiet one."""
PER_SECOND = 100
TRAFFIC = 20
SOON = 5.0
"""Seconds from the first bad answer to the last request that is routed to the challenger."""


class Asked(NamedTuple):
    at: float
    status: int
    role: str


class World:
    """A serving process, its ServedModel in a directory, and a guard that looks each second."""

    def __init__(self, directory: Path) -> None:
        self.store = open_store(str(directory / "store"), {})
        self._served_models = DirectoryServedModels(directory / "served")
        (directory / "served").mkdir()
        self._file = directory / "served" / "flight-delay.json"
        self._champion = make_version(self.store, "1", 1.0)
        self.write()
        self.process = ServingProcess(
            self._file, directory / "store", arguments=("--challenger-memory-mib", "300")
        )
        self.guard = ChallengerGuard(self._served_models, Scraper(self.process.port))
        self.guard.pods = {"pod": "127.0.0.1"}
        self._stop = threading.Event()

    def write(
        self, challenger: ModelVersion | None = None, *, traffic: int = 0, shadow: bool = False
    ) -> None:
        value = served_model(self._champion, challenger=challenger, traffic=traffic, shadow=shadow)
        value["metadata"]["resourceVersion"] = "1"
        write_served_model(self._file, value)

    @property
    def model(self) -> ServedModel:
        found = self._served_models.get("flight-delay")
        assert found is not None
        return found

    @contextmanager
    def running(self) -> Iterator[World]:
        with self.process as process:
            process.wait_for("/v2/health/ready")
            looking = threading.Thread(target=self._look)
            looking.start()
            try:
                yield self
            finally:
                self._stop.set()
                looking.join()

    def _look(self) -> None:
        while not self._stop.is_set():
            self._stop.wait(min(1.0, self.guard.look(self.model.to_object())))

    def reach(self, state: str) -> None:
        """Returns once the process says that its challenger is in that state."""
        deadline = time.monotonic() + 20
        while (self.challenger or {}).get("state") != state:
            assert time.monotonic() < deadline, self.process.log
            time.sleep(0.02)

    @property
    def challenger(self) -> dict[str, Any] | None:
        said: dict[str, Any] | None = self.process.get(f"/v2/models/{LIFECYCLE}")[1]["parameters"][
            "challenger"
        ]
        return said

    def taken_back(self, seconds: float) -> tuple[str, str] | None:
        """Why the challenger was taken back, if it is by then."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            model = self.model
            if not model.spec.traffic and not model.spec.shadow and (said := why_taken_back(model)):
                return said
            time.sleep(0.05)
        return None


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with World(tmp_path).running() as world:
        yield world


@contextmanager
def users(port: int, row: Callable[[int], list[float]]) -> Iterator[list[Asked]]:
    """PER_SECOND requests of two equal rows per second, each with its own key; yields what came of them."""
    asked: list[Asked] = []
    stop = threading.Event()

    def call() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        number, started = 0, time.monotonic()
        while not stop.wait(max(0.0, started + number / PER_SECOND - time.monotonic())):
            body = json.dumps(matrix_request(row(number), row(number), key=number)).encode()
            connection.request("POST", f"/v2/models/{LIFECYCLE}/infer", body)
            with connection.getresponse() as response:
                answer = json.loads(response.read())
            parameters = answer["parameters"]
            role = "fallback" if parameters.get("fallback") else str(parameters["role"])
            asked.append(Asked(time.monotonic(), response.status, role))
            number += 1
        connection.close()

    thread = threading.Thread(target=call)
    thread.start()
    try:
        yield asked
    finally:
        stop.set()
        thread.join()


def loud(row: list[float], every: int) -> Callable[[int], list[float]]:
    return lambda number: row if number % every == 0 else QUIET_ROW


def settled_after(asked: list[Asked], bad: str) -> float:
    """Seconds from the first bad answer to the last request that the challenger was given."""
    first = next(one.at for one in asked if one.role == bad)
    return max(one.at for one in asked if one.role != "champion") - first


LATE = {"RepeatedTimeouts", "Overloaded"}
"""What a busy machine makes of any challenger."""
KINDS = {
    "raises": (LOUD_ROW, {"RepeatedErrors", "ErrorRate"}),
    "wrong_length": (LOUD_ROW, {"RepeatedErrors", "ErrorRate"}),
    "not_a_number": (LOUD_ROW, {"NotANumber"}),
    "memory": (LOUD_ROW, {"RepeatedErrors", "ErrorRate", "ChallengerDied"}),
    "slow": (SLOW_ROW, {"ErrorRate", "Latency"}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_misbehaves_loses_its_traffic_and_nobody_notices(world: World, kind: str) -> None:
    row, reasons = KINDS[kind]
    challenger = make_misbehaving(world.store, "2", kind)
    world.write(challenger)
    world.reach("Ready")
    world.write(challenger, traffic=TRAFFIC)
    with users(world.process.port, loud(row, every=2)) as asked:
        said = world.taken_back(15)
        time.sleep(1.0)
    assert {one.status for one in asked} == {200}
    assert said is not None
    assert said[0] in reasons | LATE
    assert settled_after(asked, "fallback") < SOON


def test_a_crash_is_enough(world: World) -> None:
    challenger = make_version(world.store, "2", 1.0)
    world.write(challenger)
    world.reach("Ready")
    world.write(challenger, traffic=TRAFFIC)
    with users(world.process.port, loud(QUIET_ROW, every=1)) as asked:
        time.sleep(0.5)
        (child,) = children_of(world.process.process.pid)
        os.kill(child, signal.SIGKILL)
        died = time.monotonic()
        said = world.taken_back(15)
        time.sleep(1.0)
    assert {one.status for one in asked} == {200}
    assert said is not None
    assert max(one.at for one in asked if one.role != "champion") - died < SOON


def test_predictions_that_are_turned_round_are_enough(world: World) -> None:
    challenger = make_version(world.store, "2", -1.0)
    world.write(challenger)
    world.reach("Ready")
    world.write(challenger, traffic=TRAFFIC)
    with users(world.process.port, loud(LOW_ROW, every=6)) as asked:
        said = world.taken_back(20)
        time.sleep(1.0)
    assert {one.status for one in asked} == {200}
    assert said is not None
    assert said[0] in {"PredictionShift"} | LATE


def test_a_bundle_with_another_digest_gets_no_traffic(world: World) -> None:
    challenger = make_version(world.store, "2", 1.0).model_copy(update={"digest": "sha256:" + "0" * 64})
    world.write(challenger, traffic=TRAFFIC)
    with users(world.process.port, loud(QUIET_ROW, every=1)) as asked:
        said = world.taken_back(15)
    assert {(one.status, one.role) for one in asked} == {(200, "champion")}
    assert said is not None
    assert said[0] == "Rejected"


def test_a_sound_challenger_keeps_its_shadow(world: World) -> None:
    challenger = make_version(world.store, "2", 1.0)
    world.write(challenger)
    world.reach("Ready")
    world.write(challenger, shadow=True)
    with users(world.process.port, loud(LOW_ROW, every=2)) as asked:
        assert world.taken_back(6) is None
    assert {(one.status, one.role) for one in asked} == {(200, "champion")}
    assert world.guard.view is not None
    assert (world.guard.view.status, world.guard.view.reason) == ("True", "Healthy")

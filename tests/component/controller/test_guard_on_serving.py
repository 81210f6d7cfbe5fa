"""The guard beside a real serving process with a challenger that misbehaves under load: users notice nothing,
and its traffic is gone soon after its first bad answer."""

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
from waiting import HANG, until

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
SOON = 100
"""Requests that the challenger is given from its first bad answer on, at most: at PER_SECOND, those of five
seconds. A machine that is too busy for a look each second is too busy for so many requests, too."""
CALM = 50
"""Answers in a row that all come from the champion: what has traffic would have given one of them."""


class Asked(NamedTuple):
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
        until(lambda: (self.challenger or {}).get("state") == state, lambda: self.process.log)

    @property
    def challenger(self) -> dict[str, Any] | None:
        said: dict[str, Any] | None = self.process.get(f"/v2/models/{LIFECYCLE}")[1]["parameters"][
            "challenger"
        ]
        return said

    def taken_back(self) -> tuple[str, str] | None:
        """Why the challenger was taken back, if it is."""
        model = self.model
        return None if model.spec.traffic or model.spec.shadow else why_taken_back(model)


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
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=HANG)
        number, started = 0, time.monotonic()
        while not stop.wait(max(0.0, started + number / PER_SECOND - time.monotonic())):
            body = json.dumps(matrix_request(row(number), row(number), key=number)).encode()
            connection.request("POST", f"/v2/models/{LIFECYCLE}/infer", body)
            with connection.getresponse() as response:
                answer = json.loads(response.read())
            parameters = answer["parameters"]
            role = "fallback" if parameters.get("fallback") else str(parameters["role"])
            asked.append(Asked(response.status, role))
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


def is_taken_back(world: World, asked: list[Asked]) -> tuple[str, str]:
    """Why; returns when users meet the champion alone."""
    said = until(world.taken_back, lambda: (world.guard.view, world.process.log))
    assert said is not None
    until(lambda: {one.role for one in asked[-CALM:]} == {"champion"}, lambda: asked[-CALM:])
    return said


def is_judged(world: World) -> bool:
    return world.guard.view is not None and world.guard.view.status != "Unknown"


def given(asked: list[Asked]) -> int:
    """Number of these that went to the challenger, whoever answered them."""
    return sum(one.role != "champion" for one in asked)


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
        reason, _ = is_taken_back(world, asked)
    assert {one.status for one in asked} == {200}
    assert reason in reasons | LATE
    first = next(place for place, one in enumerate(asked) if one.role == "fallback")
    assert given(asked[first:]) < SOON


def test_a_crash_is_enough(world: World) -> None:
    challenger = make_version(world.store, "2", 1.0)
    world.write(challenger)
    world.reach("Ready")
    world.write(challenger, traffic=TRAFFIC)
    with users(world.process.port, loud(QUIET_ROW, every=1)) as asked:
        until(lambda: given(asked))
        (child,) = children_of(world.process.process.pid)
        os.kill(child, signal.SIGKILL)
        died = len(asked)
        is_taken_back(world, asked)
    assert {one.status for one in asked} == {200}
    assert given(asked[died:]) < SOON


def test_predictions_that_are_turned_round_are_enough(world: World) -> None:
    challenger = make_version(world.store, "2", -1.0)
    world.write(challenger)
    world.reach("Ready")
    world.write(challenger, traffic=TRAFFIC)
    with users(world.process.port, loud(LOW_ROW, every=6)) as asked:
        reason, _ = is_taken_back(world, asked)
    assert {one.status for one in asked} == {200}
    assert reason in {"PredictionShift"} | LATE


def test_a_bundle_with_another_digest_gets_no_traffic(world: World) -> None:
    challenger = make_version(world.store, "2", 1.0).model_copy(update={"digest": "sha256:" + "0" * 64})
    world.write(challenger, traffic=TRAFFIC)
    with users(world.process.port, loud(QUIET_ROW, every=1)) as asked:
        reason, _ = is_taken_back(world, asked)
    assert {(one.status, one.role) for one in asked} == {(200, "champion")}
    assert reason == "Rejected"


def test_a_sound_challenger_keeps_its_shadow(world: World) -> None:
    challenger = make_version(world.store, "2", 1.0)
    world.write(challenger)
    world.reach("Ready")
    world.write(challenger, shadow=True)
    with users(world.process.port, loud(LOW_ROW, every=2)) as asked:
        until(lambda: len(asked) > 5 * PER_SECOND and is_judged(world), lambda: world.guard.view)
    assert world.taken_back() is None
    assert {(one.status, one.role) for one in asked} == {(200, "champion")}
    assert world.guard.view is not None
    assert (world.guard.view.status, world.guard.view.reason) == ("True", "Healthy")

"""A champion and its challenger in a serving process, callers that never pause, and the signals to end it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from served_bundle import LIFECYCLE, make_version, matrix_request, served_model, write_served_model
from serving_process import ServingProcess
from waiting import HANG, until

from windtunnel.objects import open_store

if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Iterator

    from windtunnel.spec.servedmodel import ModelVersion

ROW = [0.1, 2.0, 0.3, 4.0, 0.5]


class Asked(NamedTuple):
    """One request of a caller."""

    status: int
    answer: Any
    seconds: float

    @property
    def role(self) -> str:
        parameters = self.answer["parameters"]
        return "fallback" if parameters.get("fallback") else str(parameters["role"])


class Canary:
    """A serving process whose champion is version 1, of weight 1."""

    def __init__(self, directory: Path, *arguments: str, prefix: tuple[str, ...] = ()) -> None:
        self.store = open_store(str(directory / "store"), {})
        self.champion = make_version(self.store, "1", 1.0)
        self._file = directory / "served.json"
        self._generation = 0
        self.want()
        self.process = ServingProcess(self._file, directory / "store", prefix=prefix, arguments=arguments)

    @contextmanager
    def running(self) -> Iterator[Canary]:
        with self.process as process:
            process.wait_for("/v2/health/ready")
            yield self

    def want(self, challenger: ModelVersion | None = None, *, traffic: int = 0, shadow: bool = False) -> None:
        """Write the ServedModel."""
        self._generation += 1
        value = served_model(
            self.champion, self._generation, challenger=challenger, traffic=traffic, shadow=shadow
        )
        write_served_model(self._file, value)

    def promote(self, version: ModelVersion) -> None:
        """Let the version be champion, and nothing stand beside it."""
        self.champion = version
        self.want()

    def said(self) -> dict[str, Any]:
        """What the process says of itself."""
        parameters: dict[str, Any] = self.process.get(f"/v2/models/{LIFECYCLE}")[1]["parameters"]
        return parameters

    def settle(self) -> dict[str, Any]:
        """What it says once it has acted on the last ServedModel."""
        return self._wait(lambda said: said["generation"] == self._generation)

    def reach(self, state: str) -> dict[str, Any]:
        """What it says of its challenger once that is in the state."""
        challenger: dict[str, Any] = self._wait(
            lambda said: bool(said["challenger"]) and said["challenger"]["state"] == state
        )["challenger"]
        return challenger

    def _wait(self, good: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        deadline = time.monotonic() + HANG
        while not good(said := self.said()):
            assert time.monotonic() < deadline, f"{said}\n{self.process.log}"
            time.sleep(0.02)
        return said

    def ask(self, row: list[float] | None = None, key: str | int | None = None) -> Asked:
        """One request of one row."""
        started = time.perf_counter()
        status, answer = self.process.infer(matrix_request(row or ROW, key=key))
        return Asked(status, answer, time.perf_counter() - started)

    def metric(self, name: str, **labels: str) -> float:
        """The sum of the series of a metric that have these labels."""
        total = 0.0
        for line in self.process.get("/metrics")[1].splitlines():
            found = re.match(rf"windtunnel_serving_{name}(?:\{{(.*)\}})? (\S+)$", line)
            if found and labels.items() <= dict(re.findall(r'(\w+)="(.*?)"', found[1] or "")).items():
                total += float(found[2])
        return total

    def side(self, key: str | int) -> str:
        """The version that answers a key; asks again where the challenger was late, as on a busy machine."""
        for _ in range(10):
            asked = self.ask(key=key)
            assert asked.status == 200
            if asked.role != "fallback":
                return str(asked.answer["model_version"])
        raise AssertionError(f"the challenger does not answer {key}\n{self.process.log}")

    def faults(self) -> float:
        """Counted against the challenger, but for being late, which a busy machine may be to blame for."""
        return self.metric("challenger_faults_total") - self.metric(
            "challenger_faults_total", reason="timeout"
        )

    def child(self) -> int:
        """Process id of the challenger; waits for it."""
        (child,) = until(lambda: children_of(self.process.process.pid), lambda: self.process.log)
        return child

    def signal_child(self, signum: signal.Signals) -> int:
        """Send it to the challenger; returns its process id."""
        child = self.child()
        os.kill(child, signum)
        return child


def children_of(pid: int) -> list[int]:
    """Process ids of the children; those that are dead but not yet reaped are left out, and the writer of the
    prediction log."""
    children: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        # A thread may end while one looks.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            children += map(int, (task / "children").read_text().split())
    return [child for child in children if is_alive(child) and not writes_the_log(child)]


def writes_the_log(pid: int) -> bool:
    """Whether that process writes a prediction log."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return b"windtunnel.serving.log_writer" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


def is_alive(pid: int) -> bool:
    """False for zombies."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_for_end(pid: int) -> None:
    """Raises AssertionError when the process lives on."""
    until(lambda: not is_alive(pid), lambda: f"process {pid} lives on")


@contextmanager
def callers(
    port: int, body: Callable[[int], Any], threads: int = 4, pause: float = 0.005
) -> Iterator[list[Asked]]:
    """Ask on keep-alive connections all the while; `body` gives the n-th request. Yields the answers."""
    asked: list[Asked] = []
    stop = threading.Event()

    def call(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=HANG)
        while not stop.is_set():
            data = json.dumps(body(number)).encode()
            number += threads
            started = time.perf_counter()
            connection.request("POST", f"/v2/models/{LIFECYCLE}/infer", data)
            with connection.getresponse() as response:
                answer = json.loads(response.read())
            asked.append(Asked(response.status, answer, time.perf_counter() - started))
            time.sleep(pause)
        connection.close()

    running = [threading.Thread(target=call, args=(number,)) for number in range(threads)]
    for thread in running:
        thread.start()
    try:
        yield asked
    finally:
        stop.set()
        for thread in running:
            thread.join()

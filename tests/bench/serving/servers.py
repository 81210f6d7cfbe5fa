"""The servers of the table: started one after the other on the server's core, then asked in turns."""

from __future__ import annotations

import asyncio
import contextlib
import os
import statistics
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from served_bundle import LIFECYCLE, served_model, write_served_model
from serving_process import ServingProcess, free_port
from tests.bench.load import Load, load, steady
from tests.bench.serving.model import FEATURES, ROW, by_vector, encoded
from tests.bench.serving.venvs import python_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from windtunnel.spec.servedmodel import ModelVersion

SERVER_CORE, CLIENT_CORE = 0, 1
RATE = 500.0
"""Requests a second of the open loop."""
INFER = f"/v2/models/{LIFECYCLE}/infer"
_ON_CORE = ("taskset", "-c", str(SERVER_CORE))
_PEERS = Path(__file__).with_name("peers")
_START_SECONDS = 120.0


@dataclass
class Server:
    """A running server."""

    port: int
    pid: int
    start_seconds: float
    """From its start to its first answer."""

    def cpu_seconds(self) -> float:
        """Of all its processes, so far."""
        ticks = 0
        for pid in self._pids():
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def pss_mib(self) -> float:
        """Memory of all its processes; what several share counts in parts."""
        lines = [
            line
            for pid in self._pids()
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        ]
        return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024

    def _pids(self) -> list[int]:
        pids = [self.pid]
        for pid in pids:
            for task in Path(f"/proc/{pid}/task").iterdir():
                with contextlib.suppress(FileNotFoundError):  # a thread that has just ended
                    pids += map(int, (task / "children").read_text().split())
        return pids


@dataclass
class Contestant:
    """One row of the table: a server, what it is asked, and what that measured."""

    name: str
    server: Server
    path: str
    body: bytes
    loads: list[Load] = field(default_factory=list)
    calm: list[Load] = field(default_factory=list)
    cpu_seconds: float = 0.0

    def saturate(self, seconds: float) -> None:
        before = self.server.cpu_seconds()
        self.loads.append(asyncio.run(load(self.server.port, self.path, self.body, seconds=seconds)))
        self.cpu_seconds += self.server.cpu_seconds() - before

    def stay_calm(self, seconds: float) -> None:
        asked = steady(self.server.port, self.path, self.body, rate=RATE, seconds=seconds)
        self.calm.append(asyncio.run(asked))

    def forget(self) -> None:
        """What was measured while it warmed up."""
        self.loads.clear()
        self.cpu_seconds = 0.0

    @property
    def rate(self) -> float:
        return statistics.median(one.rate for one in self.loads)

    @property
    def cpu_microseconds(self) -> float:
        """For one request, on all cores."""
        return 1e6 * self.cpu_seconds / sum(one.answered for one in self.loads)

    def calm_milliseconds(self, share: float) -> float:
        """The median of the rounds' quantiles: a round that a neighbour disturbed is not the server's."""
        return 1e3 * statistics.median(one.quantile(share) for one in self.calm)

    @property
    def keeps_up(self) -> bool:
        """It answers RATE requests a second at all."""
        return self.rate > 1.2 * RATE

    @property
    def failures(self) -> int:
        return sum(one.failures for one in (*self.loads, *self.calm))


@contextmanager
def windtunnel(
    directory: Path,
    champion: ModelVersion,
    redis_port: int,
    challenger: ModelVersion | None = None,
    traffic: int = 0,
) -> Iterator[Server]:
    """The whole path: routing, checks, metrics, prediction log of every request."""
    home = directory / f"served-{time.monotonic_ns()}"
    home.mkdir()
    model = served_model(champion, challenger=challenger, traffic=traffic, shadow=challenger is not None)
    write_served_model(home / "served.json", model)
    process = ServingProcess(
        home / "served.json",
        directory / "store",
        online_store=f"redis://127.0.0.1:{redis_port}/0",
        prefix=_ON_CORE,
        environment={"OMP_NUM_THREADS": "1"},
    )
    started = time.monotonic()
    with process:
        seconds = _first_answer(started, process.port, INFER, by_vector())
        if challenger is not None:
            _wait_for_challenger(process)
        yield Server(process.port, process.process.pid, seconds)


def _wait_for_challenger(process: ServingProcess) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while process.get(f"/v2/models/{LIFECYCLE}")[1]["parameters"]["challenger"]["state"] != "Ready":
        assert time.monotonic() < deadline, process.log
        time.sleep(0.1)


@contextmanager
def fastapi(model: Path) -> Iterator[Server]:
    port = free_port()
    command = [
        str(python_of("fastapi")), "-m", "uvicorn", "fastapi_app:app", "--app-dir", str(_PEERS),
        "--port", str(port), "--no-access-log", "--log-level", "warning",
    ]  # fmt: skip
    with _peer(command, port, INFER, by_vector(), {"MODEL": str(model)}) as server:
        yield server


@contextmanager
def kserve(model: Path) -> Iterator[Server]:
    port = free_port()
    command = [str(python_of("kserve")), str(_PEERS / "kserve_app.py"), str(port)]
    with _peer(command, port, INFER, by_vector(), {"MODEL": str(model)}) as server:
        yield server


MLFLOW_PATH = "/invocations"
MLFLOW_ONNX_BODY = encoded({"inputs": [ROW]})
MLFLOW_BODY = encoded({"dataframe_split": {"columns": list(FEATURES), "data": [ROW]}})
FASTAPI_PATH, FASTAPI_BODY = "/predict", encoded({"features": [ROW]})


@contextmanager
def mlflow(model: Path, body: bytes) -> Iterator[Server]:
    """Serve ONNX, or a pickled estimator."""
    port = free_port()
    python = python_of("mlflow")
    saved = model.with_name(f"mlflow-{model.stem}-{model.suffix[1:]}")
    save = [str(python), str(_PEERS / "mlflow_save.py"), str(model), str(saved)]
    subprocess.run(save, check=True, capture_output=True)
    command = [
        str(python), "-m", "mlflow", "models", "serve", "-m", str(saved), "--env-manager", "local",
        "--port", str(port), "--workers", "1",
    ]  # fmt: skip
    # it starts its server by a shell
    path = f"{python.parent}:{os.environ['PATH']}"
    with _peer(command, port, MLFLOW_PATH, body, {"PATH": path}) as server:
        yield server


@contextmanager
def _peer(
    command: Sequence[str], port: int, path: str, body: bytes, environment: Mapping[str, str]
) -> Iterator[Server]:
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    started = time.monotonic()
    process = subprocess.Popen(
        [*_ON_CORE, *command],
        env={**kept, "OMP_NUM_THREADS": "1", **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        seconds = _first_answer(started, port, path, body, process)
        yield Server(port, process.pid, seconds)
    finally:
        # its children too
        os.killpg(process.pid, 15)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait()


def _first_answer(
    started: float, port: int, path: str, body: bytes, process: subprocess.Popen[bytes] | None = None
) -> float:
    """Seconds until the server has answered a first request rightly."""
    while True:
        try:
            asked = asyncio.run(load(port, path, body, seconds=0, connections=1))
        except OSError:
            asked = None
        if asked is not None and asked.answered and not asked.failures:
            return time.monotonic() - started
        assert process is None or process.poll() is None, f"the server on port {port} has ended"
        assert time.monotonic() < started + _START_SECONDS, f"port {port} does not answer {path} with 200"
        time.sleep(0.01)

"""Serving, one row a request over HTTP: the whole path of Windtunnel against FastAPI with onnxruntime.

Each server has the first core, the load generator the second; rounds take turns, so that a neighbour's noise
hits both. Processor time per request is the steadier figure on a busy machine.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop
from redis_process import BINARY, redis_process
from served_bundle import (
    FEATURES,
    LIFECYCLE,
    make_version,
    matrix_request,
    served_model,
    tensor,
    write_served_model,
)
from serving_process import ServingProcess, free_port
from tests.bench.load import Load, load

from windtunnel.objects import ObjectStore, open_store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from windtunnel.spec.servedmodel import ModelVersion

ROUNDS = 4
SECONDS = 3.0
ROW = [0.1, 2.0, 0.3, 4.0, 0.5]
SERVER_CORE, CLIENT_CORE = 0, os.cpu_count() and 1


@dataclass
class Contestant:
    """A running server and what its rounds measured."""

    name: str
    port: int
    pid: int
    path: str
    body: bytes
    loads: list[Load] = field(default_factory=list)
    cpu_seconds: float = 0.0

    def round(self, seconds: float) -> None:
        before = _cpu_seconds(self.pid)
        self.loads.append(asyncio.run(load(self.port, self.path, self.body, seconds=seconds)))
        self.cpu_seconds += _cpu_seconds(self.pid) - before

    @property
    def rate(self) -> float:
        return statistics.median(one.rate for one in self.loads)

    @property
    def cpu_microseconds(self) -> float:
        return 1e6 * self.cpu_seconds / sum(one.answered for one in self.loads)

    def report(self) -> str:
        best = max(self.loads, key=lambda one: one.rate)
        failures = sum(one.failures for one in self.loads)
        return (
            f"{self.name:34} {self.rate:8.0f} requests/s (best {best.rate:.0f})  "
            f"p50 {1e3 * best.quantile(0.5):5.1f} ms  p99 {1e3 * best.quantile(0.99):5.1f} ms  "
            f"{self.cpu_microseconds:5.0f} µs CPU a request  {failures} failures"
        )


def main() -> None:
    os.sched_setaffinity(0, {CLIENT_CORE})
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        directory = Path(name)
        store = open_store(str(directory / "store"), {})
        version = make_version(store, "1", 1.0)
        port = stack.enter_context(redis_process()) if BINARY else 1
        process = ServingProcess(
            _served(directory, version),
            directory / "store",
            online_store=f"redis://127.0.0.1:{port}/0",
            prefix=_on_core(),
        )
        started = time.monotonic()
        stack.enter_context(process)
        process.wait_for("/v2/health/ready")
        print(f"start to ready: {time.monotonic() - started:.2f} s")
        path = f"/v2/models/{LIFECYCLE}/infer"
        ours = Contestant(
            "windtunnel, vector", process.port, process.process.pid, path, _json(matrix_request(ROW))
        )
        columns = Contestant(
            "windtunnel, tensor per feature", process.port, process.process.pid, path, _columns()
        )
        contestants = [ours, columns]
        if BINARY:
            contestants.append(
                Contestant("windtunnel, by entity", process.port, process.process.pid, path, _entity())
            )
        peer = stack.enter_context(_peer(store, version, directory))
        contestants.append(peer)
        for contestant in contestants:
            contestant.round(0.5)
            contestant.loads.clear()
            contestant.cpu_seconds = 0.0
        for _ in range(ROUNDS):
            for contestant in contestants:
                contestant.round(SECONDS)
        for contestant in contestants:
            print(contestant.report())
        print(
            f"windtunnel : FastAPI = {ours.rate / peer.rate:.1f} in requests/s, "
            f"{peer.cpu_microseconds / ours.cpu_microseconds:.1f} in CPU"
        )


def _served(directory: Path, version: ModelVersion) -> Path:
    file = directory / "served.json"
    write_served_model(file, served_model(version))
    return file


@contextmanager
def _peer(store: ObjectStore, version: ModelVersion, directory: Path) -> Iterator[Contestant]:
    model = directory / "model.onnx"
    model.write_bytes(store.get(store.key(version.bundle) + "/model.onnx"))
    port = free_port()
    command = [
        *_on_core(), sys.executable, "-m", "uvicorn", "tests.bench.fastapi_peer:app",
        "--port", str(port), "--log-level", "warning", "--no-access-log",
    ]  # fmt: skip
    root = Path(__file__).parents[2]
    process = subprocess.Popen(
        command, cwd=root, env={**os.environ, "MODEL": str(model), "PYTHONPATH": str(root)}
    )
    try:
        contestant = Contestant(
            "FastAPI + onnxruntime", port, process.pid, "/infer", _json({"features": [ROW]})
        )
        _wait(port)
        yield contestant
    finally:
        process.terminate()
        process.wait(10)


def _wait(port: int) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            asyncio.run(load(port, "/infer", b"{}", seconds=0, connections=1))
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


def _on_core() -> tuple[str, ...]:
    return ("taskset", "-c", str(SERVER_CORE))


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


def _columns() -> bytes:
    return _json(
        {"inputs": [tensor(name, "FP64", [value]) for name, value in zip(FEATURES, ROW, strict=True)]}
    )


def _entity() -> bytes:
    keys = [tensor("carrier", "BYTES", ["UA"]), tensor("route_id", "INT64", [7])]
    return _json({"inputs": [*keys, tensor("hour", "FP64", [7]), tensor("distance", "FP64", [700])]})


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

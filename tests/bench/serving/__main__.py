"""Serving, one row a request over HTTP: Windtunnel's whole path against FastAPI with onnxruntime, the KServe
SDK's server and `mlflow models serve`, in one run.

All have the same ONNX model and one process on the first core; the load generator has the second, with Redis.
Rounds take turns, so that a neighbour's noise hits all. Processor time per request is the steadiest figure on
a busy machine, then the ratios.
"""

from __future__ import annotations

import asyncio
import os
import platform
import signal
import sys
import tempfile
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path

import uvloop
from redis_process import BINARY, MISSING, redis_process
from tests.bench.serving.model import BenchModel, by_column, by_entity, by_vector, fill_redis
from tests.bench.serving.servers import (
    CLIENT_CORE,
    FASTAPI_BODY,
    FASTAPI_PATH,
    INFER,
    MLFLOW_BODY,
    MLFLOW_ONNX_BODY,
    MLFLOW_PATH,
    RATE,
    Contestant,
    fastapi,
    kserve,
    mlflow,
    windtunnel,
)
from tests.bench.serving.venvs import versions

from windtunnel.objects import open_store

ROUNDS = 5
SECONDS = 2.0
CALM_ROUNDS = 3
CALM_SECONDS = 4.0
OURS, ENTITY = "windtunnel, one matrix tensor", "windtunnel, by entity key (Redis)"
FASTAPI, KSERVE = "FastAPI + onnxruntime", "KServe SDK"
MLFLOW, MLFLOW_ONNX = "mlflow models serve, scikit-learn", "mlflow models serve, ONNX"
_BUSY = 0.9
"""Share of its core from which on the load generator is itself what is measured."""


def main() -> None:
    if not BINARY:
        raise SystemExit(MISSING)
    # ended from outside, it ends what it started
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    os.sched_setaffinity(0, {CLIENT_CORE})
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        contestants = _contestants(Path(name), stack)
        for one in contestants:
            one.saturate(1.0)
            one.forget()
        for _ in range(ROUNDS):
            for one in contestants:
                one.saturate(SECONDS)
        for _ in range(CALM_ROUNDS):
            for one in contestants:
                if one.keeps_up:
                    one.stay_calm(CALM_SECONDS)
        report(contestants)


def _contestants(directory: Path, stack: ExitStack) -> list[Contestant]:
    """All of them, running."""
    bench = BenchModel(open_store(str(directory / "store"), {}))
    file = directory / "model.onnx"
    pickled = directory / "model.pickle"
    bench.save(file, pickled)
    redis_port = stack.enter_context(redis_process())
    fill_redis(redis_port)
    champion, challenger = bench.version("1"), bench.version("2")
    ours = stack.enter_context(windtunnel(directory, champion, redis_port))
    shadow = stack.enter_context(windtunnel(directory, champion, redis_port, challenger))
    canary = stack.enter_context(windtunnel(directory, champion, redis_port, challenger, traffic=25))
    theirs = stack.enter_context(fastapi(file))
    return [
        Contestant(OURS, ours, INFER, by_vector()),
        Contestant("windtunnel, one tensor per feature", ours, INFER, by_column()),
        Contestant(ENTITY, ours, INFER, by_entity()),
        Contestant("windtunnel, a challenger in shadow", shadow, INFER, by_vector()),
        Contestant("windtunnel, a challenger with 25 %", canary, INFER, by_vector()),
        Contestant(FASTAPI, theirs, INFER, by_vector()),
        Contestant("FastAPI, the smallest body", theirs, FASTAPI_PATH, FASTAPI_BODY),
        Contestant(KSERVE, stack.enter_context(kserve(file)), INFER, by_vector()),
        Contestant(
            MLFLOW_ONNX,
            stack.enter_context(mlflow(file, MLFLOW_ONNX_BODY)),
            MLFLOW_PATH,
            MLFLOW_ONNX_BODY,
        ),
        Contestant(MLFLOW, stack.enter_context(mlflow(pickled, MLFLOW_BODY)), MLFLOW_PATH, MLFLOW_BODY),
    ]


def report(contestants: list[Contestant]) -> None:
    """Print the tables."""
    print("\n## Serving, single rows\n")
    print("| | requests/s | CPU µs a request | p50 ms at 500/s | p99 ms at 500/s | start s | MiB (PSS) |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for one in contestants:
        calm = [f"{one.calm_milliseconds(share):.2f}" if one.keeps_up else "-" for share in (0.5, 0.99)]
        print(
            f"| {one.name} | {one.rate:,.0f} | {one.cpu_microseconds:,.0f} | {' | '.join(calm)} | "
            f"{one.server.start_seconds:.2f} | {one.server.pss_mib():,.0f} |"
        )
    failed = sum(one.failures for one in contestants)
    by_name = {one.name: one for one in contestants}
    ours, entity = by_name[OURS], by_name[ENTITY]
    print("\n| aim | requests/s | CPU |\n|---|---:|---:|")
    for name, aim in ((FASTAPI, 2.7), (KSERVE, None), (MLFLOW, 40), (MLFLOW_ONNX, 40)):
        peer = by_name[name]
        print(
            f"| {name}{f': {aim} times' if aim else ''} | {ours.rate / peer.rate:.2f} | "
            f"{peer.cpu_microseconds / ours.cpu_microseconds:.2f} |"
        )
    print(
        f"\np99 at {RATE:.0f}/s {ours.calm_milliseconds(0.99):.2f} ms (aim 2); by entity key p50 "
        f"{entity.calm_milliseconds(0.5):.2f} ms (aim 1); start to first answer "
        f"{ours.server.start_seconds:.2f} s (aim 2); {failed} failed requests."
    )
    busiest = max(load.generator_seconds / load.seconds for one in contestants for load in one.loads)
    print(f"The load generator took at most {100 * busiest:.0f} % of its core.")
    if busiest > _BUSY:
        print("That is too much: what the fastest servers can is not known.", file=sys.stderr)
    own = ", ".join(f"{name} {version(name)}" for name in ("httptools", "uvloop", "msgspec", "onnxruntime"))
    print(f"Python {platform.python_version()}; windtunnel: {own}.")
    for peer_name in ("fastapi", "kserve", "mlflow"):
        print(f"{peer_name}: {versions(peer_name)}.")


if __name__ == "__main__":
    main()

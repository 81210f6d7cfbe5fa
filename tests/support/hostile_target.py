"""A serving process to be hostile to, alone or with a challenger, and what it is held to."""

from __future__ import annotations

import re
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from hostile_run import Fuzz, memory_mib, open_files
from redis_process import redis_process
from served_bundle import LIFECYCLE, make_version, served_model, write_served_model
from serving_process import ServingProcess

from windtunnel.objects import open_store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from hostile_run import Report

_GROWTH_MIB: Final = 160.0
"""What a process may take more than when it was warm: buffers of large bodies, a few of them at once."""
_FILES: Final = 40
_SERIES: Final = 3000
"""Lines of metrics: what a caller sends must not become a label."""

_SUFFERED: Final = re.compile(
    r"""^windtunnel_serving_(?:\w*restarts_total.*|log_drops_total\{reason="(?:unfit|writer_died)"\}"""
    r"""|challenger_faults_total.*reason="(?:error|not_a_number|died)".*)\ [1-9].*$""",
    re.MULTILINE,
)
"""What the challenger and the log's writer must not have to endure for a caller's sake."""


class Mode(NamedTuple):
    """What stands beside the champion."""

    challenger: bool = False
    traffic: int = 0
    shadow: bool = False


MODES: Final = {
    "alone": Mode(),
    "shadow": Mode(challenger=True, shadow=True),
    "canary": Mode(challenger=True, traffic=50),
    "both": Mode(challenger=True, traffic=50, shadow=True),
}


@contextmanager
def target(directory: Path, mode: Mode) -> Iterator[ServingProcess]:
    """The process, ready, its challenger too; its online store knows nobody."""
    store = open_store(str(directory / "store"), {})
    file = directory / "served.json"
    challenger = make_version(store, "2", 1.0) if mode.challenger else None
    beside: dict[str, Any] = {"challenger": challenger, "traffic": mode.traffic, "shadow": mode.shadow}
    write_served_model(file, served_model(make_version(store, "1", 1.0), **beside))
    with (
        redis_process() as port,
        ServingProcess(
            file,
            directory / "store",
            online_store=f"redis://127.0.0.1:{port}/0",
            arguments=("--log-seconds", "1"),
        ) as process,
    ):
        process.wait_for("/v2/health/ready")
        while mode.challenger and _challenger(process)["state"] != "Ready":
            time.sleep(0.05)
        yield process


def fuzz(process: ServingProcess, seed: int, requests: int, workers: int = 8) -> Report:
    """Be hostile, and see to it that the process is as before. What is wrong is in the report's problems."""
    pid = process.process.pid
    Fuzz(process.port, seed + 1).run(60)
    memory, files = memory_mib(pid), open_files(pid)
    report = Fuzz(process.port, seed).run(requests, workers)
    if process.process.poll() is not None:
        report.problems.append("the process has ended")
        return report
    grown = memory_mib(pid) - memory
    if grown > _GROWTH_MIB:
        report.problems.append(f"it took {memory:.0f} MiB, and takes {grown:.0f} MiB more")
    time.sleep(0.2)
    if open_files(pid) > files + _FILES:
        report.problems.append(f"it had {files} files open, and now {open_files(pid)}")
    metrics = process.get("/metrics")[1]
    if len(metrics.splitlines()) > _SERIES:
        report.problems.append(f"{len(metrics.splitlines())} lines of metrics")
    if re.search(r'requests_total\{code="5', metrics):
        report.problems.append("it counted 5xx answers")
    if "unexpected error" in process.log or "Traceback" in process.log:
        report.problems.append(f"it logged what it did not expect: {process.log[-3000:]}")
    report.problems += [f"its other processes suffered: {said}" for said in _SUFFERED.findall(metrics)]
    challenger = _challenger(process)
    if challenger and challenger["state"] != "Ready":
        report.problems.append(f"its challenger suffered: {challenger}")
    return report


def _challenger(process: ServingProcess) -> Any:
    return process.get(f"/v2/models/{LIFECYCLE}")[1]["parameters"]["challenger"]

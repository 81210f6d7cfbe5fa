"""Finding, starting and ending the cluster's processes.

There are no pid files to go stale: each process carries its component's name, the cluster's state directory
and a fingerprint of its configuration in its environment, and is found by them in /proc.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_STATE, _NAME, _FINGERPRINT = "WINDTUNNEL_CLUSTER", "WINDTUNNEL_COMPONENT", "WINDTUNNEL_FINGERPRINT"
_SHIM = "containerd-shim"
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Process:
    """A live process; `started` (clock ticks since boot) tells it from a later one of the same pid."""

    pid: int
    started: int
    name: str
    fingerprint: str

    def is_alive(self) -> bool:
        status = _status(self.pid)
        return status is not None and status[0] != "Z" and status[2] == self.started

    def signal(self, number: signal.Signals) -> None:
        if self.is_alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def epoch(self) -> float:
        """When it started, in seconds of the epoch."""
        return time.time() - self.seconds_up()

    def seconds_up(self) -> float:
        return float(Path("/proc/uptime").read_text().split()[0]) - self.started / _TICKS

    def pss_bytes(self) -> int:
        """Memory by proportional set size: shared pages count by their share."""
        try:
            rollup = Path(f"/proc/{self.pid}/smaps_rollup").read_text()
        except OSError:
            return 0
        kibibytes = (int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
        return next(kibibytes, 0) * 1024


def start(
    state: Path, name: str, fingerprint: str, command: Sequence[str], environment: Mapping[str, str]
) -> Process:
    """Start a component in a session of its own, its output going to its log."""
    log = state / "log" / f"{name}.log"
    log.parent.mkdir(exist_ok=True)
    if log.exists():
        log.replace(log.with_suffix(".log.1"))
    marks = {_STATE: str(state), _NAME: name, _FINGERPRINT: fingerprint}
    with log.open("wb") as output:
        child = subprocess.Popen(
            command, cwd="/", env={**environment, **marks}, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=output, stderr=output,
        )  # fmt: skip
    status = _status(child.pid)
    # Popen has waited for exec; a process that is gone by now never equals a live one.
    return Process(child.pid, status[2] if status else -1, name, fingerprint)


def find(state: Path) -> list[Process]:
    """The components that run for this state directory, without the shims that containerd started."""
    return [process for process in _scan(state) if not _is_shim(process.pid) and _leads(process.pid)]


def find_shims(state: Path) -> list[Process]:
    """containerd's shims: each is the parent of one pod's containers."""
    return [process for process in _scan(state) if _is_shim(process.pid)]


def find_children(parents: Iterable[Process]) -> list[Process]:
    """The processes that the parents started: of shims, the first processes of containers."""
    pids = {parent.pid for parent in parents}
    children = []
    for pid in _pids():
        status = _status(pid)
        if status and status[1] in pids:
            children.append(Process(pid, status[2], (_command(pid) or ["?"])[0], ""))
    return children


def end(processes: Sequence[Process], seconds: float) -> None:
    """SIGTERM, then SIGKILL for what has not ended in time; returns when all are gone."""
    for process in processes:
        process.signal(signal.SIGTERM)
    if not wait_gone(processes, seconds):
        for process in processes:
            process.signal(signal.SIGKILL)
        wait_gone(processes, 10)


def wait_gone(processes: Sequence[Process], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while any(process.is_alive() for process in processes):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _scan(state: Path) -> list[Process]:
    found = []
    for pid in _pids():
        try:
            environment = Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:
            continue
        if _STATE.encode() not in environment:
            continue
        marks = dict(pair.partition("=")[::2] for pair in environment.decode(errors="replace").split("\0"))
        status = _status(pid)
        if status and status[0] != "Z" and marks.get(_STATE) == str(state) and _NAME in marks:
            found.append(Process(pid, status[2], marks[_NAME], marks.get(_FINGERPRINT, "")))
    return found


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _is_shim(pid: int) -> bool:
    return _SHIM in "".join(_command(pid)[:1])


def _leads(pid: int) -> bool:
    """Whether it is a component itself, not a short-lived child such as an iptables that one runs."""
    try:
        return os.getsid(pid) == pid
    except ProcessLookupError:
        return False


def _command(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")
    except OSError:
        return []


def _status(pid: int) -> tuple[str, int, int] | None:
    """State letter, parent's pid, start in ticks since boot (man 5 proc: fields 3, 4 and 22)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return fields[0], int(fields[1]), int(fields[19])

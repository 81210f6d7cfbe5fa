"""A child process in a session of its own: its lines as they come, and an end of the whole group."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

KEPT_LINES = 30
GRACE_SECONDS = 6.0
POLL_SECONDS = 0.5
_END = None


@dataclass(frozen=True)
class Ended:
    """How a child ended; `code` is negative for a signal; `lines` are its last ones."""

    code: int
    seconds: float
    lines: tuple[str, ...]


def run_child(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    directory: Path,
    log_file: Path,
    on_line: Callable[[str], object],
) -> Ended:
    """Run it to its end; `on_line` gets every line, in this thread.

    Whatever ends this call early (Ctrl-C above all) ends the child's process group too.
    """
    started = time.monotonic()
    kept: deque[str] = deque(maxlen=KEPT_LINES)
    lines: queue.Queue[str | None] = queue.Queue()
    log_file.parent.mkdir(parents=True, exist_ok=True)
    process = subprocess.Popen(
        command,
        cwd=directory,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        threading.Thread(target=_pump, args=(process, lines), daemon=True).start()
        with log_file.open("a", encoding="utf-8") as log:
            for line in _lines(process, lines):
                log.write(line + "\n")
                log.flush()
                kept.append(line)
                on_line(line)
        code = process.wait()
    finally:
        _end_group(process)
    return Ended(code, time.monotonic() - started, tuple(kept))


def _pump(process: subprocess.Popen[str], lines: queue.Queue[str | None]) -> None:
    if process.stdout is not None:
        for line in process.stdout:
            lines.put(line.rstrip("\n"))
    lines.put(_END)


def _lines(process: subprocess.Popen[str], lines: queue.Queue[str | None]) -> Iterator[str]:
    """Lines until the output ends; a grandchild that keeps the pipe open is not waited for."""
    while True:
        try:
            line = lines.get(timeout=POLL_SECONDS)
        except queue.Empty:
            if process.poll() is not None:
                return
        else:
            if line is _END:
                return
            yield line


def _end_group(process: subprocess.Popen[str]) -> None:
    """Ask the group to end, then make it; at once when interrupted again, nothing when it is gone."""
    try:
        if process.poll() is None:
            _signal_group(process, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(GRACE_SECONDS)
    finally:
        _signal_group(process, signal.SIGKILL)
        process.wait()


def _signal_group(process: subprocess.Popen[str], number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)

"""Progress for people, on stderr; stdout stays a command's result."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

from dev.imaging.errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_started = time.monotonic()
_lock = threading.Lock()
_SECONDS_BETWEEN_REPORTS = 15.0
_LAST_LINES = 25


def say(text: str) -> None:
    """Print a line with the seconds since the command began."""
    with _lock:
        print(f"[{time.monotonic() - _started:6.1f} s] {text}", file=sys.stderr, flush=True)


def run(command: Sequence[str], what: str, log: Path, environment: Mapping[str, str]) -> None:
    """Run a command with its output in a log file; report while it lasts.

    Raises ImageError with the log's last lines if it fails.
    """
    started = time.monotonic()
    log.parent.mkdir(parents=True, exist_ok=True)
    with (
        log.open("ab") as output,
        subprocess.Popen(
            command, stdout=output, stderr=output, stdin=subprocess.DEVNULL, env=environment
        ) as process,
    ):
        try:
            while True:
                try:
                    process.wait(_SECONDS_BETWEEN_REPORTS)
                    break
                except subprocess.TimeoutExpired:
                    step = last_step(log)
                    say(f"{what}: {time.monotonic() - started:.0f} s{f', {step}' if step else ''}")
        except BaseException:
            process.terminate()
            raise
    if process.returncode != 0:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-_LAST_LINES:])
        raise ImageError(f"{what} failed with exit code {process.returncode} ({log} has all):\n{tail}")


def capture(command: Sequence[str], what: str, environment: Mapping[str, str]) -> str:
    """A short command's stdout. Raises ImageError with its stderr if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode != 0:
        raise ImageError(f"{what} failed with exit code {done.returncode}: {done.stderr.strip()[-2000:]}")
    return done.stdout


def last_step(log: Path) -> str:
    """How far a builder is: "step 6 of 15" of the stage it is in, or its last line."""
    text = log.read_text(errors="replace")
    # buildah: "[2/2] STEP 6/15: RUN …"; docker: "#9 [stage-1 6/15] RUN …" or "Step 6/15 : RUN …".
    steps = re.findall(r"^(?:.*STEP |#\d+ \[.*?|Step )(\d+)/(\d+)", text, flags=re.MULTILINE)
    if steps:
        return "step {} of {}".format(*steps[-1])
    return " ".join((text.strip().splitlines() or [""])[-1].split())[:80]

"""Progress for people: one line per step on stderr, so that stdout stays a command's result."""

from __future__ import annotations

import sys
import time

_started = time.monotonic()


def say(text: str) -> None:
    """Print a line with the seconds since the command began."""
    print(f"[{time.monotonic() - _started:6.1f} s] {text}", file=sys.stderr, flush=True)

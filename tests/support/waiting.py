"""Waiting for what shall be seen, however busy the machine is."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

HANG: Final = 120.0
"""Seconds; what takes longer hangs. No test measures time by it."""

Seen = TypeVar("Seen")


def until(look: Callable[[], Seen], told: Callable[[], object] = lambda: "it did not come") -> Seen:
    """What `look` returns, once that is true; `told` says what there was when it did not come."""
    deadline = time.monotonic() + HANG
    while not (seen := look()):
        assert time.monotonic() < deadline, told()
        time.sleep(0.02)
    return seen

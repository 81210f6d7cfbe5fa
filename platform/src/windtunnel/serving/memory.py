"""How much memory the container has, and how much of it is left for versions that nobody needs right now."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from windtunnel.spec.servedmodel import ModelVersion

MIB: Final = 1 << 20
LIMITS: Final = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""Where a container finds its memory limit: cgroup versions 2 and 1."""
_UNLIMITED: Final = 1 << 40
"""From here on a limit is none (version 1 says nearly 2^63)."""
_RESERVE: Final = 64 * MIB
"""For requests, and for the process that writes the prediction log."""
_OF_FILES: Final = 14
"""A model takes up to this many times the bytes of its files while it is loaded (tree ensembles of 2 to 14
MiB in ONNX: 13 times, of which 11.6 stay)."""
_BESIDES: Final = 8 * MIB


def container_limit() -> int | None:
    """Bytes; None where there is no limit."""
    for place in LIMITS:
        try:
            limit = int(place.read_text())
        except (OSError, ValueError):
            # not this version of cgroups, or no limit ("max")
            continue
        if limit < _UNLIMITED:
            return limit
    return None


def resident_bytes() -> int:
    """What this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Room:
    """What is left of the container's limit beside the challenger's share and a reserve.

    `size` tells the bytes of a version's files, and may raise WindtunnelError.
    """

    def __init__(
        self,
        limit: int | None,
        challenger: int,
        size: Callable[[ModelVersion], int],
        resident: Callable[[], int] = resident_bytes,
    ) -> None:
        self._most = None if limit is None else limit - challenger - _RESERVE
        self._size = size
        self._resident = resident

    def refusal(self, version: ModelVersion) -> str:
        """Why one more version does not fit in; empty when it does. Raises as `size` does."""
        if self._most is None:
            return ""
        needs, left = self._size(version) * _OF_FILES + _BESIDES, self._most - self._resident()
        if needs <= left:
            return ""
        return (
            f"it needs up to {needs / MIB:.0f} MiB, and {max(0, left) / MIB:.0f} are left of the container's "
            "limit: raise serving.resources.limits.memory"
        )

    def is_overdrawn(self) -> bool:
        """Whether what is loaded takes more than it should."""
        return self._most is not None and self._resident() > self._most

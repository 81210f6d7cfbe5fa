"""The command line of a challenger's process, and how much memory it may take."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from windtunnel.spec.servedmodel import ModelVersion

_LIMITS: Final = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""Where a container finds its memory limit: cgroup versions 2 and 1."""
_UNLIMITED: Final = 1 << 40
"""From here on a limit is none (version 1 says nearly 2^63)."""
_WITHOUT_LIMIT: Final = 1 << 30
_MIB: Final = 1 << 20


def challenger_command(memory_mib: int | None) -> Callable[[str, ModelVersion], list[str]]:
    """(lifecycle, version) → its command line; `memory_mib` None for half of the container's limit."""
    memory = memory_mib * _MIB if memory_mib is not None else _half_of_limit(_LIMITS)

    def command(lifecycle: str, version: ModelVersion) -> list[str]:
        return [
            sys.executable, "-m", "windtunnel.serving.challenger_process",
            "--memory", str(memory),
            "--lifecycle", lifecycle,
            "--version", version.version,
            "--bundle", version.bundle,
            "--digest", version.digest,
        ]  # fmt: skip

    return command


def _half_of_limit(places: tuple[Path, ...]) -> int:
    """Bytes: the other half is the champion's, who must live through whatever the challenger takes."""
    for place in places:
        try:
            limit = int(place.read_text())
        except (OSError, ValueError):
            # not this version of cgroups, or no limit ("max")
            continue
        if limit < _UNLIMITED:
            return limit // 2
    return _WITHOUT_LIMIT

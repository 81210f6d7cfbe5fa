"""The command line of a challenger's process, and how much memory it may take."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from windtunnel.serving.memory import MIB, container_limit

if TYPE_CHECKING:
    from collections.abc import Callable

    from windtunnel.spec.servedmodel import ModelVersion

_WITHOUT_LIMIT: Final = 1 << 30


def challenger_memory(memory_mib: int | None) -> int:
    """Bytes that it may take: so many MiB or, for None, half of the container's limit. The other half is the
    champion's, who must live through whatever the challenger takes."""
    if memory_mib is not None:
        return memory_mib * MIB
    limit = container_limit()
    return _WITHOUT_LIMIT if limit is None else limit // 2


def challenger_command(memory_mib: int | None) -> Callable[[str, ModelVersion], list[str]]:
    """(lifecycle, version) → its command line; `memory_mib` as for `challenger_memory`."""
    memory = challenger_memory(memory_mib)

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

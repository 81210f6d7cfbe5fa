"""What the kernel says about the memory of this container: its limit, and how often it killed for it.

Version 2 of the cgroup file system, or version 1; inside a container both show the container's own group.
"""

from __future__ import annotations

from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
# Version 1 writes "no limit" as a huge number of bytes.
_UNLIMITED = 1 << 60


def oom_kills(root: Path = ROOT) -> int:
    """Processes of this container that the kernel has killed for want of memory; 0 where it does not tell."""
    for path in (root / "memory.events", root / "memory" / "memory.oom_control"):
        for line in _read(path).splitlines():
            name, _, count = line.partition(" ")
            if name == "oom_kill" and count.isdigit():
                return int(count)
    return 0


def memory_limit(root: Path = ROOT) -> int | None:
    """The limit in bytes, or None when there is none or it cannot be read."""
    for path in (root / "memory.max", root / "memory" / "memory.limit_in_bytes"):
        text = _read(path).strip()
        if text.isdigit() and int(text) < _UNLIMITED:
            return int(text)
    return None


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""

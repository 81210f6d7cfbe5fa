"""Virtual environments of the peers, each with its own pinned packages, kept outside the checkout like the
other development tools."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

_ROOT = Path(__file__).parents[3]
_PEERS = Path(__file__).with_name("peers")
# With bytecode, as an image has it: else a first start would compile.
_INSTALL = ("pip", "install", "-q", "--compile-bytecode")


def python_of(peer: str, peers: Path = _PEERS) -> Path:
    """The peer's interpreter; its packages (`peers` has their list) are installed when they are not yet."""
    requirements = peers / f"{peer}.txt"
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "/var/cache") / "windtunnel"
    wanted = f"{requirements.read_text()} {sys.version} {_INSTALL}"
    key = hashlib.sha256(wanted.encode()).hexdigest()[:12]
    directory = cache / "bench-peers" / f"{peer}-{key}"
    python = directory / "bin" / "python"
    if (directory / "whole").exists():
        return python
    shutil.rmtree(directory, ignore_errors=True)
    print(f"installing {peer} into {directory}", file=sys.stderr)
    uv = _uv(cache)
    environment = {**os.environ, "UV_CACHE_DIR": str(cache / "uv")}
    for command in (
        [uv, "venv", "-q", "--python", sys.executable, str(directory)],
        [uv, *_INSTALL, "--python", str(python), "-r", str(requirements)],
    ):
        subprocess.run(command, check=True, env=environment)
    (directory / "whole").touch()
    return python


def versions(peer: str, peers: Path = _PEERS) -> str:
    """The peer's pinned packages, for the table."""
    return ", ".join((peers / f"{peer}.txt").read_text().split()).replace("==", " ")


def _uv(cache: Path) -> str:
    """The pinned uv that dev/venv.sh has put into the cache, else the one on PATH."""
    pinned = re.search(r"^uv==(\S+)", (_ROOT / "dev/uv.txt").read_text(), flags=re.MULTILINE)
    assert pinned is not None, "dev/uv.txt pins uv"
    ours = cache / f"uv-{pinned[1]}" / "bin" / "uv"
    found = str(ours) if ours.exists() else shutil.which("uv")
    if found is None:
        raise SystemExit("uv is missing, which installs the peers: run `make venv` once, or install uv")
    return found

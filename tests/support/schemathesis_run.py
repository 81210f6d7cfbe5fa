"""Runs schemathesis, from the clients' environment, on a server's published OpenAPI document."""

from __future__ import annotations

import subprocess
from pathlib import Path

_ROOT = Path(__file__).parents[2]
CLIENTS = _ROOT / ".clients" / "bin"
"""Made by dev/clients.sh."""


def schemathesis(url: str, directory: Path, *, examples: int, phases: str, seconds: float) -> str:
    """All its checks; returns what it writes, whose files go to `directory`. Raises AssertionError for a
    failure."""
    command = [
        CLIENTS / "st", "--config-file", _ROOT / "tests" / "clients" / "schemathesis.toml",
        "run", f"{url}/v2/openapi.json", "--checks", "all", "--phases", phases,
        "--max-examples", str(examples), "--generation-deterministic", "--no-color",
    ]  # fmt: skip
    done = subprocess.run(
        [*map(str, command)], capture_output=True, text=True, timeout=seconds, cwd=directory
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout

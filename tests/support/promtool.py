"""Prometheus' own tool."""

from __future__ import annotations

import shutil
import subprocess


def lint(page: bytes) -> str:
    """What promtool has to say about metrics; nothing is best."""
    promtool = shutil.which("promtool")
    assert promtool, "run dev/promtool.sh first"
    done = subprocess.run([promtool, "check", "metrics"], input=page, capture_output=True, check=False)
    return (done.stdout + done.stderr).decode() + (f"exit code {done.returncode}" if done.returncode else "")

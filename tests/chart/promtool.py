"""promtool, which dev/promtool.sh installs."""

from __future__ import annotations

import shutil
import subprocess


def promtool(*arguments: str) -> str:
    """Its standard output; fails with all that it said when it finds fault."""
    command = shutil.which("promtool")
    assert command, "run dev/promtool.sh"
    done = subprocess.run([command, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout

"""The limits that a challenger's process takes upon itself, where not all of them can be had."""

from __future__ import annotations

import subprocess
import sys

RUN = """
import os, resource
from pathlib import Path
from windtunnel.serving import challenger_process

def refused(*_):
    raise PermissionError(13, "Permission denied")

{given}
challenger_process._submit_to(os.getppid(), 1 << 30)
print(resource.getrlimit(resource.RLIMIT_DATA)[0] >> 20)
"""


def memory_limit(given: str) -> str:
    """MiB that it allows itself."""
    done = subprocess.run(
        [sys.executable, "-c", RUN.format(given=given)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_kernel_that_refuses_to_put_it_last_takes_no_challenger_away() -> None:
    assert memory_limit("os.nice = Path.write_text = refused") == "1024"


def test_a_harder_limit_on_memory_stays() -> None:
    assert memory_limit("resource.setrlimit(resource.RLIMIT_DATA, (1 << 29, 1 << 29))") == "512"

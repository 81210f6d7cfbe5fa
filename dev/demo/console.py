"""How the demo speaks: steps with seconds, and several programs side by side with labelled lines."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

_WIDTH = None if sys.stdout.isatty() else 200  # a log file has no width of its own
console = Console(highlight=False, soft_wrap=True, width=_WIDTH)
_print = threading.Lock()


class DemoError(RuntimeError):
    """What stopped the demo, in words for the one who ran it."""


@contextmanager
def step(title: str) -> Iterator[None]:
    """Announce a step and, once done, the seconds that it took."""
    console.print(f"\n[bold cyan]==> {title}[/]")
    begun = time.monotonic()
    yield
    console.print(f"[green]  ✓ {title}[/] [dim]{time.monotonic() - begun:.1f} s[/]")


def run_labelled(label: str, argv: Sequence[str], env: Mapping[str, str] | None = None) -> None:
    """Run a program, its lines under a label. Raises DemoError with its last lines when it fails."""
    last: deque[str] = deque(maxlen=30)
    process = subprocess.Popen(
        argv,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **(env or {})},
    )
    assert process.stdout is not None
    for line in process.stdout:
        last.append(line.rstrip())
        with _print:
            console.print(f"[dim]{label:>10} │[/] {escape(line.rstrip())}")
    if process.wait():
        tail = "\n".join(f"    {line}" for line in last)
        raise DemoError(f"{' '.join(argv)} ended with {process.returncode}; its last lines:\n{tail}")


def side_by_side(*chains: Callable[[], None]) -> None:
    """Run the chains at once; the first failure is raised after all have ended."""
    with ThreadPoolExecutor(len(chains)) as pool:
        futures = [pool.submit(chain) for chain in chains]
    for future in futures:
        future.result()

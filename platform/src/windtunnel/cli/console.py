"""The two consoles, and how errors look."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from windtunnel.errors import SpecError, WindtunnelError

if TYPE_CHECKING:
    from collections.abc import Iterable

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def tell_error(error: WindtunnelError) -> None:
    """What, where, how to mend it; each problem of a spec by itself."""
    problems = error.problems if isinstance(error, SpecError) and error.problems else (error,)
    for problem in problems:
        err.print(_lines(problem), soft_wrap=True)
    if len(problems) > 1:
        err.print(f"{len(problems)} problems", style="bold red")


def tell_lines(lines: Iterable[str]) -> None:
    for line in lines:
        err.print(Text("  │ " + line, style="dim"), soft_wrap=True)


def _lines(error: WindtunnelError) -> Text:
    text = Text()
    text.append("error: ", style="bold red")
    if error.where:
        text.append(f"{error.where}: ", style="bold")
    text.append(error.what)
    if error.fix:
        text.append(f"\n  mend it: {error.fix}", style="cyan")
    return text

"""`windtunnel retain`: what is kept on this machine, and what goes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.table import Table

from windtunnel.cli.console import out
from windtunnel.cli.run import run_here
from windtunnel.report.words import size

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from windtunnel.local.home import Home


def retain_here(directory: Path, home: Home, *, dry_run: bool) -> int:
    """The retain stage on this machine; exit code as of `windtunnel run`."""
    again = f"windtunnel retain {directory.name}"
    outcome, code = run_here(directory, home, again, None, None, dag="retain", params={"dry_run": dry_run})
    if outcome:
        tell_retained(directory.name, outcome.results["retain"].facts)
    return code


def tell_retained(lifecycle: str, facts: Mapping[str, Any]) -> None:
    """What was kept and what went, by kind."""
    kept, swept = facts["kept"], facts["swept"]
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for column in ("kept", "", "would go" if facts["dry_run"] else "gone", ""):
        table.add_column(column, justify="right")
    for kind in sorted(kept | swept):
        cells = [_cells(told.get(kind)) for told in (kept, swept)]
        table.add_row(kind, *cells[0], *cells[1])
    out.print()
    out.print(f"[bold]{lifecycle}[/]  objects and bytes")
    out.print(table)
    if facts["dry_run"]:
        out.print("  a dry run: nothing was deleted", style="dim")


def _cells(told: Mapping[str, int] | None) -> tuple[str, str]:
    return (f"{told['objects']:,}", size(told["bytes"])) if told else ("", "")

"""How fresh the views of the online store are, in a table."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from windtunnel.cli.console import out

if TYPE_CHECKING:
    from collections.abc import Mapping

_UNITS = ((365.25 * 86_400, "years"), (86_400, "days"), (3_600, "hours"), (60, "minutes"))


def tell_freshness(views: Mapping[str, Mapping[str, Any]]) -> None:
    """One row per view, of what `publish` says of it (its `facts["views"]`); nothing when there are none."""
    if not views:
        return
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
    table.add_column("view", overflow="fold")
    for column in ("newest event", "age", "objective"):
        table.add_column(column, no_wrap=True)
    table.add_column("rows", justify="right", no_wrap=True)
    for view, told in sorted(views.items()):
        stale = bool(told["stale"])
        newest, age, objective = told["newest_event"], told["age_seconds"], told["objective_seconds"]
        table.add_row(
            view,
            f"{datetime.fromisoformat(newest):%Y-%m-%d %H:%M} UTC" if newest else "none",
            Text(words_of(age) if newest else "", "bold red" if stale else ""),
            _objective(objective, stale),
            f"{told['rows']:,}",
        )
    out.print(table)


def words_of(seconds: float) -> str:
    """A span of time by its largest unit, such as `3.5 hours`."""
    for size, unit in _UNITS:
        if abs(seconds) >= size:
            number = f"{seconds / size:.1f}".removesuffix(".0")
            return f"{number} {unit.removesuffix('s') if number == '1' else unit}"
    return f"{seconds:.0f} s"


def _objective(seconds: float | None, stale: bool) -> Text:
    if seconds is None:
        return Text("none", "dim")
    return Text(f"{words_of(seconds)}: STALE", "bold red") if stale else Text(f"{words_of(seconds)}: kept")

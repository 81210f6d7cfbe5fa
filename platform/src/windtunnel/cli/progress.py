"""How a run looks while it goes: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Group
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console, RenderableType

    from windtunnel.spec.stages import StageResult


@dataclass
class _Row:
    state: str = "waiting"
    seconds: float = 0.0
    began: float = 0.0
    note: str = ""


_MARKS = {
    "waiting": ("·", "dim"),
    "done": ("✓", "green"),
    "failed": ("✗", "bold red"),
    "skipped": ("-", "yellow"),
}


class LiveProgress:
    """One row per step, and the newest log line below; use as a context."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._rows: dict[str, _Row] = {}
        self._line = ""
        self._spinner = Spinner("dots", style="cyan")
        self._live = Live(console=console, get_renderable=self._render, refresh_per_second=8)

    def __enter__(self) -> LiveProgress:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._line = ""
        self._live.stop()

    def planned(self, names: Sequence[str]) -> None:
        for name in names:
            self._rows.setdefault(name, _Row())

    def started(self, name: str) -> None:
        self._rows[name] = _Row("running", began=time.monotonic())

    def line(self, name: str, text: str) -> None:  # noqa: ARG002 - the row that runs is the only one
        self._line = "".join(char for char in text if char.isprintable())

    def ended(self, name: str, seconds: float, result: StageResult | None) -> None:
        self._rows[name] = _Row("done", seconds, note=note(result))
        self._line = ""

    def failed(self, name: str, seconds: float) -> None:
        self._rows[name] = _Row("failed", seconds)

    def skipped(self, name: str, reason: str) -> None:
        self._rows[name] = _Row("skipped", note=reason)

    def _render(self) -> RenderableType:
        table = Table.grid(padding=(0, 2))
        table.add_column(width=1)
        table.add_column(min_width=24)
        table.add_column(justify="right", width=8)
        table.add_column()
        for name, row in self._rows.items():
            running = row.state == "running"
            seconds = time.monotonic() - row.began if running else row.seconds
            table.add_row(
                self._spinner if running else Text(*_MARKS[row.state]),
                Text(name, "bold" if running else "dim" if row.state == "waiting" else ""),
                f"{seconds:.1f} s" if seconds else "",
                Text(row.note, "dim"),
            )
        return Group(table, Text(f"  {self._line}"[: self._console.width - 1], "dim", no_wrap=True))


class PlainProgress:
    """One line when a step starts and one when it ends; for files, pipes and continuous integration."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def __enter__(self) -> PlainProgress:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def planned(self, names: Sequence[str]) -> None:
        self._say(f"{len(names)} steps: {', '.join(names)}")

    def started(self, name: str) -> None:
        self._say(f"{name} …")

    def line(self, name: str, text: str) -> None:
        """Lines go to the step's log file only."""

    def ended(self, name: str, seconds: float, result: StageResult | None) -> None:
        self._say(f"{name} done in {seconds:.1f} s  {note(result)}".rstrip())

    def failed(self, name: str, seconds: float) -> None:
        self._say(f"{name} FAILED after {seconds:.1f} s")

    def skipped(self, name: str, reason: str) -> None:
        self._say(f"{name} skipped: {reason}")

    def _say(self, text: str) -> None:
        self._console.print(text, soft_wrap=True, markup=False)


def note(result: StageResult | None) -> str:
    """What a table says of a result: whether it was cached, how many rows it has."""
    if result is None:
        return ""
    rows = sum(output.rows for output in result.outputs.values())
    parts = ["cached" if result.cached else "", f"{rows:,} rows" if rows else ""]
    return ", ".join(part for part in parts if part)

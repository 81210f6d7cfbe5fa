"""A run in Airflow as it goes: how many slices of each stage are done, and what failed."""

from __future__ import annotations

import time
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from windtunnel.spec.stages import STAGES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console, RenderableType

    from windtunnel.cli.airflow_api import AirflowApi, TaskRun

PAUSE = 2.0
"""Seconds between looks; a look at a run of hundreds of tasks costs the api-server some work."""
_DONE = ("success", "skipped", "removed")
_FAILED = ("failed", "upstream_failed")
_WAITING_FOR_ITS_TURN = "waits for its turn: one run of a DAG at a time"


@dataclass(frozen=True)
class Tally:
    """A task, over all its slices."""

    name: str
    tasks: tuple[TaskRun, ...]

    def count(self, *states: str) -> int:
        return sum(task.state in states for task in self.tasks)

    @property
    def done(self) -> int:
        return self.count(*_DONE)

    @property
    def mark(self) -> tuple[str, str]:
        """A character and its style."""
        if self.count(*_FAILED):
            return "✗", "bold red"
        if self.done == len(self.tasks):
            return ("-", "yellow") if self.count("skipped") else ("✓", "green")
        return ("▸", "cyan") if self.count("running") or self.done else ("·", "dim")

    @property
    def words(self) -> str:
        """Such as `12 of 52, 8 running`; empty before it begins."""
        parts = []
        if any(task.map_index >= 0 for task in self.tasks):
            parts.append(f"{self.done} of {len(self.tasks)}")
        elif self.done:
            parts.append("skipped" if self.count("skipped") else "done")
        counts = {
            "running": self.count("running"),
            "in the queue": self.count("queued"),
            "to be tried again": self.count("up_for_retry"),
            "failed": self.count("failed"),
            "not run": self.count("upstream_failed"),
        }
        parts += [f"{count} {what}" for what, count in counts.items() if count]
        return ", ".join(parts)


def tallies(tasks: Sequence[TaskRun]) -> list[Tally]:
    """One for each task, in the order of the stages."""
    order = ["plan", "plan_materialize", *STAGES]
    names = dict.fromkeys(task.task_id for task in tasks)

    def place(name: str) -> tuple[int, str]:
        stage = name.partition(".")[0]
        return (order.index(stage) if stage in order else len(order)), name

    return [
        Tally(name, tuple(task for task in tasks if task.task_id == name))
        for name in sorted(names, key=place)
    ]


def follow(api: AirflowApi, dag_id: str, run_id: str, console: Console) -> tuple[str, list[TaskRun]]:
    """Show the run until it has ended; its state and tasks then. A table on a terminal, lines elsewhere."""
    began = time.monotonic()
    state = ""
    tasks: list[TaskRun] = []
    said: dict[str, str] = {}
    live = Live(console=console, refresh_per_second=4) if console.is_terminal else None
    with live or nullcontext():
        for state, tasks in api.watch(dag_id, run_id, PAUSE):
            rows = tallies(tasks)
            if live:
                live.update(_table(state, rows))
            else:
                _say_changes(state, rows, said, time.monotonic() - began, console)
    return state, tasks


def _table(state: str, rows: Sequence[Tally]) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    for _ in range(3):
        table.add_column()
    for row in rows:
        table.add_row(Text(*row.mark), Text(row.name), Text(row.words, "dim"))
    return Group(table, Text(f"  {_WAITING_FOR_ITS_TURN}", "yellow")) if state == "queued" else table


def _say_changes(
    state: str, rows: Sequence[Tally], said: dict[str, str], seconds: float, console: Console
) -> None:
    lines = {row.name: row.words for row in rows}
    if state == "queued":
        lines["the run"] = _WAITING_FOR_ITS_TURN
    for name, words in lines.items():
        if words and said.get(name) != words:
            said[name] = words
            console.print(f"{seconds:5.0f} s  {name}: {words}", markup=False, soft_wrap=True)

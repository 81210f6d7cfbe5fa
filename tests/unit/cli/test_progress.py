"""How a run looks while it goes, on a terminal and elsewhere."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from windtunnel.cli.progress import LiveProgress, PlainProgress
from windtunnel.spec.stages import Reference, StageResult

CACHED = StageResult({"rows": Reference("rows", "u", "d", rows=12345)}, cached=True)


@pytest.mark.parametrize("kind", [LiveProgress, PlainProgress])
def test_every_step_shows_its_name_and_what_came_of_it(kind: type[LiveProgress | PlainProgress]) -> None:
    screen = io.StringIO()
    live = kind is LiveProgress
    console = Console(file=screen, force_terminal=live, width=80, color_system=None)
    with kind(console) as progress:
        progress.planned(["extract", "transform", "train", "rollout"])
        progress.started("extract")
        progress.line("extract", "2026-01-01: \x1b[31m500 rows\x1b[0m")
        progress.ended("extract", 1.25, CACHED)
        progress.started("train")
        progress.failed("train", 0.5)
        progress.skipped("rollout", "the gate refused")
    shown = screen.getvalue()
    for part in ("extract", "12,345 rows", "cached", "1.2 s", "train", "rollout", "the gate refused"):
        assert part in shown

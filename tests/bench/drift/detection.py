"""Who finds which shift, and who alarms where nothing has changed."""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tests.bench.drift import world
from tests.bench.drift.evidently import NAME, Evidently
from tests.bench.drift.ours import Detector, StabilityIndex, Tests, Windtunnel
from tests.bench.drift.quiet import QUIET, Sample
from tests.bench.drift.shifts import SHIFTS, Shift

if TYPE_CHECKING:
    from collections.abc import Iterator

WINDOWS = 5
"""Windows drawn of each shift; Evidently is asked about the first."""
ROWS, DAYS = 2_000, 4
EVIDENTLY_QUIET = 6
"""Windows of each quiet kind that Evidently is asked about: it takes seconds for one."""
SEED = 1
"""Of the run that is reported; seed 0 was looked at while the rules were made."""
OURS = (Windtunnel, Tests, StabilityIndex)


def references(seed: int) -> dict[bool, Sample]:
    """Of 20,000 rows in 40 days; the one with texts of 5,000."""
    random = np.random.default_rng([seed, 1])
    return {
        text: Sample(world.rows(random, rows, text), world.blocks(rows, 40))
        for text, rows in ((False, 20_000), (True, 5_000))
    }


def windows(shift: Shift, count: int, seed: int) -> Iterator[Sample]:
    """Windows of 2,000 rows in four days with the shift."""
    for number in range(count):
        random = np.random.default_rng([seed, 2, number, *shift.name.encode()])
        yield Sample(shift.apply(world.rows(random, ROWS, shift.text), random), world.blocks(ROWS, DAYS))


def shifts_table(evidently: Evidently | None, seed: int = 0) -> str:
    """Markdown: windows in which the shift was found, of those asked."""
    reference = references(seed)
    names = [kind.name for kind in OURS] + ([NAME] if evidently else [])
    lines = ["| shift | size | " + " | ".join(names) + " |", "|---|---|" + "---:|" * len(names)]
    found: Counter[str] = Counter()
    made = {(kind, text): kind(sample) for kind in OURS for text, sample in reference.items()}
    for shift in SHIFTS:
        drawn = list(windows(shift, WINDOWS, seed))
        cells = []
        for kind in OURS:
            detector: Detector = made[kind, shift.text]
            hits = sum(bool({*detector.drifted(window)} & {*shift.columns}) for window in drawn)
            found[kind.name] += hits == WINDOWS
            cells.append(f"{hits} of {WINDOWS}")
        if evidently:
            answer = evidently.ask(reference[shift.text].frame, drawn[0].frame)
            hit = bool({*answer["drifted"]} & {*shift.columns})
            found[NAME] += hit
            cells.append("yes" if hit else "no")
        lines.append(f"| {shift.name} | {shift.size} | " + " | ".join(cells) + " |")
        print(lines[-1], file=sys.stderr, flush=True)
    total = [f"**{found[name]} of {len(SHIFTS)}**" for name in names]
    return "\n".join([*lines, "| **always found** | | " + " | ".join(total) + " |"])


def quiet_table(evidently: Evidently | None, seed: int = 0, share: float = 1.0) -> str:
    """Markdown: windows with any alarm, of those asked; `share` of the windows of each kind."""
    names = [kind.name for kind in OURS] + ([NAME] if evidently else [])
    lines = ["| quiet windows | " + " | ".join(names) + " |", "|---|" + "---:|" * len(names)]
    alarms: Counter[str] = Counter()
    asked: Counter[str] = Counter()
    for kind in QUIET:
        here: Counter[str] = Counter()
        count: Counter[str] = Counter()
        for reference, drawn in kind.pairs(max(1, int(kind.windows * share)), seed):
            detectors: list[Detector] = [made(reference) for made in OURS]
            for window in drawn:
                for detector in detectors:
                    count[detector.name] += 1
                    here[detector.name] += bool(detector.drifted(window))
                if evidently and count[NAME] < EVIDENTLY_QUIET:
                    count[NAME] += 1
                    here[NAME] += bool(evidently.ask(reference.frame, window.frame)["drifted"])
        alarms, asked = alarms + here, asked + count
        cells = [f"{here[name]} of {count[name]}" for name in names]
        lines.append(f"| {kind.name} | " + " | ".join(cells) + " |")
        print(lines[-1], file=sys.stderr, flush=True)
    total = [f"**{alarms[name]} of {asked[name]}, {alarms[name] / asked[name]:.1%}**" for name in names]
    return "\n".join([*lines, "| **all** | " + " | ".join(total) + " |"])


def main() -> None:
    with tempfile.TemporaryDirectory() as directory, Evidently(Path(directory)) as evidently:
        print(shifts_table(evidently, SEED), end="\n\n")
        print(quiet_table(evidently, SEED))

"""From what tasks saw and what Airflow says about them to seconds, by phase. Pure."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PHASES = ("scheduled", "pod", "imports", "task")


@dataclass(frozen=True)
class Step:
    """One task of a run: what Airflow says (`row`), and what it returned (`seen`) where it could look."""

    row: Mapping[str, Any]
    seen: Mapping[str, Any] | None


def moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def phases(before: Step, after: Step) -> dict[str, float]:
    """Seconds from the code of a task to the code of the one that waits for it, and how they divide.

    scheduled: until it is queued, the end of the task before included; pod: until its worker's process
    begins; imports: until that forks the task; task: until the operator runs (API, DAG file, context).
    """
    assert before.seen is not None
    assert after.seen is not None
    queued = moment(after.row["queued_when"])
    marks = (before.seen["code"], queued, after.seen["worker"], after.seen["task"], after.seen["code"])
    parts = dict(zip(PHASES, (b - a for a, b in pairwise(marks)), strict=True))
    return {"total": marks[-1] - marks[0], **parts}


def cycle(steps: Sequence[Step]) -> float:
    """Seconds from the start of a chain's task to that of the next, as Airflow saw them; the median."""
    starts = [moment(step.row["start_date"]) for step in steps]
    return statistics.median(b - a for a, b in pairwise(starts))


def chain(steps: Sequence[Step]) -> dict[str, float | None]:
    """Medians over the tasks of a chain, in order; phases only where tasks could look."""
    told: dict[str, float | None] = {"cycle": cycle(steps)}
    if all(step.seen for step in steps):
        pairs = [phases(before, after) for before, after in pairwise(steps)]
        told |= {name: statistics.median(pair[name] for pair in pairs) for name in pairs[0]}
        for name in ("cpu", "memory"):
            values = [step.seen[name] for step in steps if step.seen and step.seen[name] is not None]
            told[name] = statistics.median(values) if values else None
    return told


def spread(steps: Sequence[Step]) -> float:
    """Seconds from the first start of a map's tasks to the last end."""
    first = min(moment(step.row["start_date"]) for step in steps)
    return max(moment(step.row["end_date"]) for step in steps) - first

"""What the stages took: time, processors, memory, money; and why some failed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from windtunnel.report import words
from windtunnel.report.charts.bar import bar
from windtunnel.report.html import name, tag
from windtunnel.report.layout import section, table
from windtunnel.spec.failures import recorded_reason
from windtunnel.spec.stages import STAGES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from windtunnel.report.html import Markup
    from windtunnel.report.subject import Subject


@dataclass
class _Spent:
    """All tries of one stage; seconds, CPU seconds, bytes, units of the price."""

    stage: str
    tries: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak: int = 0
    last_seconds: float = 0.0
    cost: float | None = None
    reasons: Counter[str] = field(default_factory=Counter)

    def add(self, record: dict[str, Any]) -> None:
        self.tries += 1
        self.last_seconds = float(record.get("seconds") or 0.0)
        self.seconds += self.last_seconds
        self.cpu_seconds += float(record.get("cpu_seconds") or 0.0)
        self.peak = max(self.peak, int(record.get("max_memory_bytes") or 0))
        cost = record.get("cost")
        if isinstance(cost, int | float):
            self.cost = (self.cost or 0.0) + cost
        if (reason := recorded_reason(record)) is not None:
            self.reasons[str(reason)] += 1


def cost(subject: Subject) -> Markup | None:
    spent = _by_stage(subject.records)
    if not spent:
        return None
    runs = len({record.get("run_id") for record in subject.records})
    seconds = sum(one.cpu_seconds for one in spent)
    money = [one.cost for one in spent if one.cost is not None]
    since, until = (words.moment(str(subject.records[place].get("started"))) for place in (0, -1))
    lead = (
        f"{words.count(runs, 'run')} from {since} to {until}: {words.duration(seconds)} of processor time"
        + (f", which cost {words.number(sum(money))} by the prices of their stage classes" if money else "")
        + "."
    )
    return section("cost", "Cost", lead, _table(spent, priced=bool(money)), _failures(spent))


def _by_stage(records: Iterable[dict[str, Any]]) -> list[_Spent]:
    found: dict[str, _Spent] = {}
    for record in records:
        stage = str(record.get("stage", ""))
        found.setdefault(stage, _Spent(stage)).add(record)
    order = list(STAGES)
    return sorted(
        found.values(), key=lambda one: order.index(one.stage) if one.stage in order else len(order)
    )


def _table(spent: list[_Spent], *, priced: bool) -> Markup:
    highest = max((one.cpu_seconds for one in spent), default=0.0) or 1.0
    head = ["stage", *(["cost"] if priced else []), "CPU", "", "tries", "last took", "peak memory"]
    rows = [
        [
            name(one.stage),
            *([words.number(one.cost)] if priced else []),
            words.duration(one.cpu_seconds),
            bar(one.cpu_seconds / highest, f"{one.stage}: {words.duration(one.cpu_seconds)} of CPU"),
            words.number(one.tries),
            words.duration(one.last_seconds),
            words.size(one.peak) if one.peak else words.MISSING,
        ]
        for one in spent
    ]
    return table(head, rows, "costs")


def _failures(spent: list[_Spent]) -> Markup | None:
    failed = [
        tag("li", name(one.stage), f": {reason.replace('_', ' ')}, {words.count(amount, 'try', 'tries')}")
        for one in spent
        for reason, amount in one.reasons.most_common()
    ]
    if not failed:
        return tag("p", "No try of a stage failed.", class_="note")
    return tag("div", tag("h3", "Tries that failed"), tag("ul", failed, class_="reasons"))

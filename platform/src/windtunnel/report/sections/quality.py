"""The loss over the windows, held against what the gate was shown, with what happened meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING

from windtunnel.report import words
from windtunnel.report.charts.history import LETTERS, Mark, Point, history
from windtunnel.report.headline import metric
from windtunnel.report.html import name
from windtunnel.report.layout import figure, more, note, section, table

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from windtunnel.monitoring.measures import Measure
    from windtunnel.report.html import Markup
    from windtunnel.report.subject import Subject

_MARKED = {
    "drift": "drift seen",
    "retraining": "retraining asked for",
    "refusal": "refused",
    "promotion": "promoted",
    "rollback": "rolled back",
    "recovered": "well again",
}
_KEYS = (
    ("stroke now", "measured, with its interval"),
    ("stroke estimate", "estimated before labels"),
    ("stroke reference", "promised by the evaluation"),
)


def quality(subject: Subject) -> Markup | None:
    shown = [measure for measure in subject.measures if measure.quality or measure.estimated]
    if not shown:
        return None
    title = metric(_metric(shown[-1]))
    points = [_point(measure) for measure in shown]
    marks = [mark for entry in subject.entries if (mark := _mark(entry))]
    worse = sum(point.bad for point in points)
    lead = (
        f"{title.capitalize()} of each window, lower is better. "
        + (f"It was worse than promised in {worse} of {words.count(len(points), 'window')}." if worse else "")
    ).strip()
    first, last = shown[0].window.start, _until(shown[-1], marks)
    says = (
        f"{title} over {words.count(len(points), 'window')}, from {words.moment(first)} "
        f"to {words.moment(shown[-1].window.end)}; the last is {words.number(points[-1].value)}"
    )
    return section(
        "quality",
        "Quality over time",
        lead,
        figure(
            history(points, marks, first, last, says),
            _legend([mark for mark in marks if first <= mark.at <= last], points),
            _KEYS,
        ),
        _versions(shown[-1]),
        more("The figures of every window", _table(shown)),
    )


def _until(measure: Measure, marks: Sequence[Mark]) -> datetime:
    """The end of the window, or what was done about it soon after."""
    end, length = measure.window.end, measure.window.end - measure.window.start
    return max([end, *(mark.at for mark in marks if mark.at <= end + length)])


def _legend(marks: Sequence[Mark], points: Sequence[Point]) -> str:
    """Of what there is in the picture."""
    shown = {mark.kind for mark in marks}
    told = [f"{LETTERS[kind]} {word}" for kind, word in _MARKED.items() if kind in shown]
    if any(point.bad for point in points):
        told.append("a red ring: worse than promised")
    return ", ".join(told)


def _metric(measure: Measure) -> str:
    if measure.quality:
        return measure.quality.metric
    return measure.estimated.metric if measure.estimated else ""


def _point(measure: Measure) -> Point:
    quality, estimated = measure.quality, measure.estimated
    interval = None
    if quality:
        low, high = quality.interval
        interval = (quality.reference_loss + low, quality.reference_loss + high)
    reference = quality.reference_loss if quality else estimated.reference if estimated else None
    return Point(
        at=measure.window.start + (measure.window.end - measure.window.start) / 2,
        value=quality.loss if quality else None,
        interval=interval,
        estimate=estimated.value if estimated else None,
        reference=reference,
        bad=bool(quality and quality.worse),
        says=(
            f"{words.span(measure.window.start, measure.window.end)}, version {measure.version}: "
            f"{words.number(quality.loss if quality else None)} where {words.number(reference)} was promised"
        ),
    )


def _mark(entry: dict[str, object]) -> Mark | None:
    action = str(entry.get("action", ""))
    at = words.at(str(entry.get("at") or entry.get("written") or ""))
    if action not in _MARKED or at is None:
        return None
    says = f"{words.moment(at)}: {_MARKED[action]}, version {entry.get('version', '')}"
    return Mark(at, says, action)


def _table(measures: Sequence[Measure]) -> Markup:
    head = (
        "window",
        "version",
        "rows",
        "labelled",
        "loss",
        "promised",
        "difference",
        "interval",
        "estimated",
    )
    rows = []
    for measure in reversed(measures):
        quality, estimated = measure.quality, measure.estimated
        rows.append(
            (
                words.span(measure.window.start, measure.window.end),
                name(measure.version, 24),
                words.number(measure.window.rows),
                words.number(quality.labelled) if quality else words.MISSING,
                words.fixed(quality.loss) if quality else words.MISSING,
                words.fixed(quality.reference_loss) if quality else words.MISSING,
                words.signed(quality.difference) if quality else words.MISSING,
                f"{words.signed(quality.interval[0])} to {words.signed(quality.interval[1])}"
                if quality
                else words.MISSING,
                words.fixed(estimated.value) if estimated else words.MISSING,
            )
        )
    return table(head, rows)


def _versions(measure: Measure) -> list[Markup] | None:
    """Where several versions answered in the window: what each made of its own share."""
    if len(measure.versions) < 2:
        return None
    rows = [
        (
            ["version ", name(one.version, 24)],
            words.number(one.rows),
            words.number(one.labelled),
            words.fixed(one.loss),
            f"{words.fixed(one.interval[0])} to {words.fixed(one.interval[1])}"
            if one.interval
            else words.MISSING,
        )
        for one in measure.versions
    ]
    return [
        table(("in the last window", "rows", "labelled", "loss", "interval"), rows),
        note("Each version answered its own share of the requests."),
    ]

"""A quantity over time with its interval, what it is held against, and what happened meanwhile."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from windtunnel.report import words
from windtunnel.report.charts.scale import Scale, around, path, percent, picture, stretched
from windtunnel.report.html import tag

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from windtunnel.report.html import Markup

_HEIGHT = 232.0
_TOP, _BOTTOM = 34.0, 206.0
"""Between them lie the values; above, what happened; below, the days."""
LETTERS = {
    "drift": "◆",
    "retraining": "↻",
    "refusal": "✕",
    "promotion": "▲",
    "rollback": "↩",
    "recovered": "✓",
}
"""By kind of mark."""
_APART = 2.5
"""Percent of the width that two marks need."""


@dataclass(frozen=True)
class Point:
    """One window. `reference` is what the value is held against there; None breaks a line."""

    at: datetime
    value: float | None
    interval: tuple[float, float] | None = None
    estimate: float | None = None
    reference: float | None = None
    bad: bool = False
    says: str = ""


@dataclass(frozen=True)
class Mark:
    """Something that happened."""

    at: datetime
    says: str
    kind: str
    """A key of LETTERS, and class of the stylesheet."""


def history(
    points: Sequence[Point], marks: Sequence[Mark], first: datetime, last: datetime, says: str
) -> Markup:
    """`points` by time, between `first` and `last`. Marks outside are left out."""
    time = Scale(first.timestamp(), last.timestamp(), 1.5, 98.5)
    known = [value for point in points for value in _values(point)]
    height = around(known, _BOTTOM, _TOP)
    ticks = height.ticks(4)
    shown = _together([mark for mark in marks if first <= mark.at <= last], time)
    plot = picture(
        _HEIGHT,
        says,
        [tag("line", x1="0", x2="100%", y1=height(tick), y2=height(tick), class_="grid") for tick in ticks],
        _days(first, last, time),
        stretched(
            _HEIGHT,
            _band(points, time, height),
            path(_steps(points, time, height), "reference"),
            path(_line(points, time, height, "estimate"), "estimate"),
            path(_line(points, time, height, "value"), "now"),
        ),
        [_mark(together, time) for together in shown],
        [_dot(point, time, height) for point in points if point.value is not None],
    )
    return tag("div", _axis(ticks, height), plot, class_="history")


def _axis(ticks: Sequence[float], height: Scale) -> Markup:
    """A picture of its own, so that its width stays what figures need while the plot takes the rest."""
    return tag(
        "svg",
        [
            tag("text", shown, x="100%", y=height(tick) + 4.0, class_="tick", text_anchor="end")
            for tick, shown in zip(ticks, words.alike(ticks), strict=True)
        ],
        width="100%",
        height=_HEIGHT,
        aria_hidden="true",
    )


def _values(point: Point) -> Iterator[float | None]:
    yield from (point.value, point.estimate, point.reference)
    if point.interval:
        yield from point.interval


def _days(first: datetime, last: datetime, time: Scale) -> Iterator[Markup]:
    days = (last - first).days >= 3
    for place, anchor in ((0.0, "start"), (0.5, "middle"), (1.0, "end")):
        at = first + (last - first) * place
        shown = words.day(at) if days else words.moment(at).replace(f" {at:%Y},", "")
        x = percent(time(at.timestamp()))
        yield tag("text", shown, x=x, y=_HEIGHT - 6, class_="tick", text_anchor=anchor)


def _band(points: Sequence[Point], time: Scale, height: Scale) -> Markup | None:
    """The intervals as one shape; windows without one are bridged by their value."""
    shown = [point for point in points if point.value is not None]
    if not any(point.interval for point in shown):
        return None
    ends = [(point.interval or (point.value or 0.0, point.value or 0.0)) for point in shown]
    places = [time(point.at.timestamp()) for point in shown]
    above = [(x, height(high)) for x, (_, high) in zip(places, ends, strict=True)]
    below = [(x, height(low)) for x, (low, _) in zip(places, ends, strict=True)]
    return path([*above, *reversed(below)], "band")


def _line(
    points: Sequence[Point], time: Scale, height: Scale, which: str
) -> Iterator[tuple[float, float] | None]:
    for point in points:
        value = getattr(point, which)
        yield None if value is None else (time(point.at.timestamp()), height(value))


def _steps(points: Sequence[Point], time: Scale, height: Scale) -> Iterator[tuple[float, float] | None]:
    """The reference holds for a version, so it jumps where the version changes."""
    before: float | None = None
    for point in points:
        x = time(point.at.timestamp())
        if point.reference is None:
            yield None
        else:
            if before is not None and before != point.reference:
                yield (x, height(before))
            yield (x, height(point.reference))
        before = point.reference


def _together(marks: Sequence[Mark], time: Scale) -> list[list[Mark]]:
    """Marks that would stand on each other share a line."""
    found: list[list[Mark]] = []
    for mark in sorted(marks, key=lambda mark: mark.at):
        if found and time(mark.at.timestamp()) - time(found[-1][0].at.timestamp()) < _APART:
            found[-1].append(mark)
        else:
            found.append([mark])
    return found


def _mark(together: Sequence[Mark], time: Scale) -> Markup:
    x = percent(time(together[0].at.timestamp()))
    # Once each, so that a busy day stays readable.
    kinds = list(dict.fromkeys(mark.kind for mark in together))
    return tag(
        "g",
        tag("title", "\n".join(mark.says for mark in together)),
        tag("line", x1=x, x2=x, y1=_TOP - 14, y2=_BOTTOM, class_="event"),
        tag(
            "text",
            [tag("tspan", LETTERS[kind], class_=kind) for kind in kinds],
            x=x,
            y=_TOP - 19,
            text_anchor="middle",
            class_="flag",
        ),
    )


def _dot(point: Point, time: Scale, height: Scale) -> Markup:
    x, y = percent(time(point.at.timestamp())), height(point.value or 0.0)
    shape = "dot bad" if point.bad else "dot"
    return tag("circle", tag("title", point.says), cx=x, cy=y, r=4.5 if point.bad else 3.2, class_=shape)

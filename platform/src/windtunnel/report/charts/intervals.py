"""A difference with its interval on an axis around nothing; many rows share the axis."""

from __future__ import annotations

from typing import TYPE_CHECKING

from windtunnel.report import words
from windtunnel.report.charts.scale import Scale, percent, picture
from windtunnel.report.html import tag

if TYPE_CHECKING:
    from collections.abc import Iterable

    from windtunnel.report.html import Markup

_HEIGHT = 26.0


def axis(intervals: Iterable[tuple[float, float] | None], limit: float | None = None) -> Scale:
    """Symmetric around nothing, so that better and worse are as far away."""
    ends = [abs(end) for interval in intervals if interval for end in interval]
    farthest = max([*ends, abs(limit or 0.0)], default=1.0) * 1.1 or 1.0
    return Scale(-farthest, farthest, 1.5, 98.5)


def interval_row(
    axis: Scale,
    value: float | None,
    interval: tuple[float, float] | None,
    says: str,
    *,
    bad: bool = False,
    good: bool = False,
    limit: float | None = None,
) -> Markup:
    """`limit`: where the gate's margin lies."""
    mood = "bad" if bad else "good" if good else ""
    middle = _HEIGHT / 2
    zero = percent(axis(0.0))
    parts = [tag("line", x1=zero, x2=zero, y1=0, y2=_HEIGHT, class_="zero")]
    if limit is not None:
        x = percent(axis(limit))
        parts.append(tag("line", x1=x, x2=x, y1=2, y2=_HEIGHT - 2, class_="limit"))
    if interval is not None:
        low, high = (percent(axis(end)) for end in interval)
        parts.append(tag("line", x1=low, x2=high, y1=middle, y2=middle, class_=f"whisker {mood}"))
        parts += [
            tag("line", x1=end, x2=end, y1=middle - 5, y2=middle + 5, class_=f"whisker {mood}")
            for end in (low, high)
        ]
    if value is not None:
        x = percent(axis(value))
        parts.append(tag("circle", cx=x, cy=middle, r=4.5, class_=f"dot {mood}".strip()))
    return picture(_HEIGHT, says, tag("title", says), parts, class_="interval")


def axis_row(axis: Scale, better: str = "better", worse: str = "worse") -> Markup:
    """What the axis means, for the row below all others."""
    return picture(
        18,
        "axis",
        tag("text", f"← {better}", x="0", y=13, class_="tick"),
        tag("text", "0", x=percent(axis(0.0)), y=13, class_="tick", text_anchor="middle"),
        tag(
            "text",
            f"{worse} {words.signed(axis.high / 1.1)} →",
            x="100%",
            y=13,
            class_="tick",
            text_anchor="end",
        ),
        class_="axis",
    )

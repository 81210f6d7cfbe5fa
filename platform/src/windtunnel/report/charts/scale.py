"""From values to places in a picture.

Widths are in percent and heights in pixels, so a picture fills whatever width it is given while its text,
strokes and points keep their size: the same SVG is read on a phone and on a wide screen.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from windtunnel.report.html import tag

if TYPE_CHECKING:
    from collections.abc import Iterable

    from windtunnel.report.html import Child, Markup


@dataclass(frozen=True)
class Scale:
    """`low` lies at `start`, `high` at `end`; what is beyond an end is put on it."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low) if self.high > self.low else 0.5
        return self.start + min(1.0, max(0.0, share)) * (self.end - self.start)

    def ticks(self, count: int = 4) -> list[float]:
        """About so many round values inside."""
        if self.high <= self.low:
            return [self.low]
        step = _round_step((self.high - self.low) / count)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [round(place * step, 10) for place in range(first, last + 1)]


def around(values: Iterable[float | None], start: float, end: float, pad: float = 0.12) -> Scale:
    """A scale that shows all values, with some room beside them."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    room = (high - low) * pad or abs(high) * pad or 1.0
    return Scale(low - room, high + room, start, end)


def picture(height: float, says: str, *children: Child, **attributes: object) -> Markup:
    """An SVG as wide as its place. `says` tells what it shows to those who don't see it."""
    return tag(
        "svg", *children, role="img", aria_label=says, width="100%", height=float(height), **attributes
    )


def stretched(height: float, *children: Child) -> Markup:
    """A layer for paths, which know no percent: 100 wide, stretched to the width of the picture."""
    return tag(
        "svg",
        *children,
        viewBox=f"0 0 100 {height:g}",
        preserveAspectRatio="none",
        width="100%",
        height=float(height),
    )


def percent(place: float) -> str:
    return f"{place:.2f}".rstrip("0").rstrip(".") + "%"


def path(points: Iterable[tuple[float, float] | None], class_: str) -> Markup:
    """Straight from point to point; None breaks it."""
    parts, pen = [], "M"
    for point in points:
        if point is None:
            pen = "M"
            continue
        parts.append(f"{pen}{_short(point[0])} {_short(point[1])}")
        pen = "L"
    return tag("path", d="".join(parts), class_=class_)


def _short(place: float) -> str:
    return f"{place:.1f}".rstrip("0").rstrip(".")


def _round_step(rough: float) -> float:
    """The next of 1, 2, 2.5, 5 and 10 times a power of ten."""
    power: float = 10.0 ** math.floor(math.log10(rough))
    return next(step * power for step in (1, 2, 2.5, 5, 10) if step * power >= rough * (1 - 1e-9))

"""Two distributions over the same bins: the reference as an outline behind, the current window before it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from windtunnel.report import words
from windtunnel.report.charts.scale import percent, picture
from windtunnel.report.html import tag

if TYPE_CHECKING:
    from collections.abc import Sequence

    from windtunnel.report.html import Markup

_HEIGHT, _BASE = 110.0, 94.0


def shapes(labels: Sequence[str], reference: Sequence[float], current: Sequence[float], says: str) -> Markup:
    """Shares per bin; of the labels only the first and the last are written, all are in the titles."""
    highest = max([*reference, *current], default=0.0) or 1.0
    width = 100.0 / max(1, len(labels))
    bars = []
    for place, (label, before, now) in enumerate(zip(labels, reference, current, strict=True)):
        left = place * width
        bars.append(
            tag(
                "g",
                tag("title", f"{label}: {words.percent(before, 1)} before, {words.percent(now, 1)} now"),
                _bar(left + width * 0.06, width * 0.88, before / highest, "before"),
                _bar(left + width * 0.26, width * 0.48, now / highest, "after"),
            )
        )
    return picture(
        _HEIGHT,
        says,
        bars,
        tag("line", x1="0", x2="100%", y1=_BASE, y2=_BASE, class_="grid"),
        tag("text", labels[0][:22], x="0", y=_HEIGHT - 3, class_="tick") if labels else None,
        tag("text", labels[-1][:22], x="100%", y=_HEIGHT - 3, class_="tick", text_anchor="end")
        if len(labels) > 1
        else None,
        class_="shapes",
    )


def _bar(left: float, width: float, share: float, class_: str) -> Markup:
    tall = max(0.0, share) * (_BASE - 4)
    return tag(
        "rect", x=percent(left), width=percent(width), y=_BASE - tall, height=float(tall), class_=class_
    )

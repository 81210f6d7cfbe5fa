"""A bar in a row of a table, beside its figure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from windtunnel.report.charts.scale import percent, picture
from windtunnel.report.html import tag

if TYPE_CHECKING:
    from windtunnel.report.html import Markup


def bar(share: float, says: str, class_: str = "amount") -> Markup:
    """`share` of the whole width, 0 to 1."""
    width = percent(100 * min(1.0, max(0.0, share)))
    return picture(
        10,
        says,
        tag("rect", x="0", y=2, width="100%", height=6, rx=3, class_="trough"),
        tag("rect", x="0", y=2, width=width, height=6, rx=3, class_=class_),
    )

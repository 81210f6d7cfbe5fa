"""A small multiple: one statistic of one column over the windows, all on the same scale."""

from __future__ import annotations

from typing import TYPE_CHECKING

from windtunnel.report.charts.scale import Scale, path, picture, stretched
from windtunnel.report.html import tag

if TYPE_CHECKING:
    from collections.abc import Sequence

    from windtunnel.report.html import Markup

_HEIGHT = 54.0


def spark(values: Sequence[float | None], drifted: Sequence[bool], highest: float, says: str) -> Markup:
    """One value per window, oldest first; windows that drifted have a dot."""
    across = Scale(0, max(1, len(values) - 1), 3.0, 97.0)
    height = Scale(0.0, highest or 1.0, _HEIGHT - 6, 6.0)
    points = [None if value is None else (across(i), height(value)) for i, value in enumerate(values)]
    known = [point for point in points if point is not None]
    area = [(known[0][0], _HEIGHT - 4), *known, (known[-1][0], _HEIGHT - 4)] if known else []
    bad = [point for point, flagged in zip(points, drifted, strict=True) if point and flagged]
    # Round ends of strokes without length: one path for all dots.
    dots = "".join(f"M{x:.1f} {y:.1f}h.01" for x, y in bad)
    return picture(
        _HEIGHT,
        says,
        tag("line", x1="0", x2="100%", y1=_HEIGHT - 4, y2=_HEIGHT - 4, class_="grid"),
        stretched(
            _HEIGHT,
            path(area, "band") if known else None,
            path(points, "now"),
            tag("path", d=dots, class_="dots") if dots else None,
        ),
        class_="spark",
    )

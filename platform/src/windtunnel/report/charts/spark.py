"""A small multiple: one statistic of one column over the windows, all on the same scale."""

from __future__ import annotations

from typing import TYPE_CHECKING

from windtunnel.report.charts.scale import Scale, path, percent, picture, stretched
from windtunnel.report.html import tag

if TYPE_CHECKING:
    from collections.abc import Sequence

    from windtunnel.report.html import Markup

_HEIGHT = 54.0


def spark(
    values: Sequence[float | None], drifted: Sequence[bool], titles: Sequence[str], highest: float, says: str
) -> Markup:
    """One value per window, oldest first; windows that drifted have a filled dot, the last one an open one."""
    across = Scale(0, max(1, len(values) - 1), 3.0, 97.0)
    height = Scale(0.0, highest or 1.0, _HEIGHT - 6, 6.0)
    points = [None if value is None else (across(i), height(value)) for i, value in enumerate(values)]
    known = [point for point in points if point is not None]
    area = [(known[0][0], _HEIGHT - 4), *known, (known[-1][0], _HEIGHT - 4)] if known else []
    return picture(
        _HEIGHT,
        says,
        tag("line", x1="0", x2="100%", y1=_HEIGHT - 4, y2=_HEIGHT - 4, class_="grid"),
        stretched(_HEIGHT, path(area, "band") if known else None, path(points, "now")),
        [
            tag(
                "circle",
                tag("title", title),
                cx=percent(point[0]),
                cy=point[1],
                r=4.0 if bad else 2.2,
                class_="dot bad" if bad else "dot",
            )
            for place, (point, bad, title) in enumerate(zip(points, drifted, titles, strict=True))
            if point is not None and (bad or place == len(points) - 1)
        ],
        class_="spark",
    )

"""One row of cells, a cell per window: many rows below each other show when what began to drift."""

from __future__ import annotations

from typing import TYPE_CHECKING

from windtunnel.report.charts.scale import picture, stretched
from windtunnel.report.html import tag

if TYPE_CHECKING:
    from collections.abc import Sequence

    from windtunnel.report.html import Markup

LEVELS = 5
_HEIGHT = 18.0


def cells(levels: Sequence[int | None], drifted: Sequence[bool], says: str) -> Markup:
    """`levels` from 0 (no change) to LEVELS - 1, None: not measured. A bar below marks what drifted."""
    width = 100.0 / max(1, len(levels))
    gap = min(0.4, width * 0.1)
    # One path per level, however many windows there are.
    layers = [
        tag(
            "path",
            d="".join(
                f"M{place * width + gap:.2f} 1h{width - 2 * gap:.2f}v12h-{width - 2 * gap:.2f}z"
                for place, found in enumerate(levels)
                if found == level
            ),
            class_=f"level{level}",
        )
        for level in sorted({level for level in levels if level is not None})
    ]
    bars = "".join(
        f"M{place * width + gap:.2f} 15h{width - 2 * gap:.2f}v3h-{width - 2 * gap:.2f}z"
        for place, bad in enumerate(drifted)
        if bad
    )
    return picture(
        _HEIGHT, says, stretched(_HEIGHT, layers, tag("path", d=bars, class_="flagged") if bars else None)
    )

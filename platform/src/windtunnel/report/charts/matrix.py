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
    # One path per level, of strokes as thick as a cell is tall: short, however many windows there are.
    layers = [
        _strokes([place for place, found in enumerate(levels) if found == level], width, 7, f"level{level}")
        for level in sorted({level for level in levels if level is not None})
    ]
    bad = [place for place, flagged in enumerate(drifted) if flagged]
    return picture(
        _HEIGHT, says, stretched(_HEIGHT, layers, _strokes(bad, width, 16, "flagged") if bad else None)
    )


def _strokes(places: Sequence[int], width: float, middle: int, class_: str) -> Markup:
    gap = min(0.4, width * 0.1)
    return tag(
        "path",
        d="".join(f"M{place * width + gap:.1f} {middle}h{width - 2 * gap:.1f}" for place in places),
        class_=class_,
    )

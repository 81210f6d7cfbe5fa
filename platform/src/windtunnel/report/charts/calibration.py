"""What was predicted against what happened: on the diagonal a probability means what it says."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from windtunnel.report import words
from windtunnel.report.charts.scale import Scale, path, percent, picture, stretched
from windtunnel.report.html import tag

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from windtunnel.report.html import Markup

_HEIGHT = 320.0


@dataclass(frozen=True)
class Curve:
    """Reliability bins (rows, predicted, observed) of somebody; `class_` chooses stroke and shape."""

    who: str
    class_: str
    bins: Sequence[dict[str, Any]]


def calibration(curves: Sequence[Curve], says: str) -> Markup:
    """All curves on one square; a bin's whisker is two standard errors of a share to either side."""
    highest = max((max(b["predicted"], b["observed"]) for curve in curves for b in curve.bins), default=1.0)
    top = min(1.0, math.ceil(highest * 1.08 * 20) / 20) or 1.0
    across, up = Scale(0.0, top, 0.0, 100.0), Scale(0.0, top, _HEIGHT - 22, 6.0)
    ticks = across.ticks(4)
    return picture(
        _HEIGHT,
        says,
        [tag("line", x1="0", x2="100%", y1=up(tick), y2=up(tick), class_="grid") for tick in ticks],
        [tag("text", words.percent(tick), x="2", y=up(tick) - 4, class_="tick") for tick in ticks if tick],
        [
            tag(
                "text",
                words.percent(tick),
                x=percent(across(tick)),
                y=_HEIGHT - 6,
                class_="tick",
                text_anchor="middle" if 0 < tick < top else "end" if tick else "start",
            )
            for tick in ticks
        ],
        stretched(
            _HEIGHT,
            path([(0.0, up(0.0)), (100.0, up(top))], "diagonal"),
            [path([(across(b["predicted"]), up(b["observed"])) for b in c.bins], c.class_) for c in curves],
        ),
        [_points(curve, across, up) for curve in curves],
        class_="calibration",
    )


def _points(curve: Curve, across: Scale, up: Scale) -> Iterator[Markup]:
    for one in curve.bins:
        rows, observed = max(1.0, one["rows"]), one["observed"]
        error = 2 * math.sqrt(max(observed * (1 - observed), 1 / rows / 4) / rows)
        x = percent(across(one["predicted"]))
        yield tag(
            "line",
            x1=x,
            x2=x,
            y1=up(max(0.0, observed - error)),
            y2=up(observed + error),
            class_=f"error {curve.class_}",
        )
        yield tag(
            "circle",
            tag(
                "title",
                f"{curve.who}: predicted {words.percent(one['predicted'], 1)}, "
                f"happened {words.percent(observed, 1)}, {words.count(int(one['rows']), 'row')}",
            ),
            cx=x,
            cy=up(observed),
            r=4.0,
            class_=f"dot {curve.class_}",
        )

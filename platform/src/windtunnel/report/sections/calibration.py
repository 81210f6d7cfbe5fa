"""Whether probabilities mean what they say: now, and when the gate looked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from windtunnel.report import words
from windtunnel.report.charts.calibration import Curve, calibration
from windtunnel.report.layout import figure, section

if TYPE_CHECKING:
    from collections.abc import Sequence

    from windtunnel.report.html import Markup
    from windtunnel.report.subject import Subject

_FEW = 30
"""A bin with fewer rows is noise."""


def calibration_section(subject: Subject) -> Markup | None:
    curves, keys = [], []
    champion = subject.champion
    verdict = _verdict_about(subject, champion.digest) if champion else subject.verdict
    promised = _bins((subject.profile or {}).get("calibration")) or _bins(
        (verdict or {}).get("reliability", {}).get("challenger")
    )
    if promised:
        version = champion.version if champion else ((verdict or {}).get("challenger") or {}).get("version")
        curves.append(Curve(f"version {version} at its evaluation", "reference", promised))
        keys.append(("stroke reference", f"version {version} at its evaluation"))
    measure = next((m for m in reversed(subject.measures) if m.quality and m.quality.calibration), None)
    if measure and measure.quality:
        now = _bins(measure.quality.calibration)
        who = f"version {measure.version}, {words.span(measure.window.start, measure.window.end)}"
        if now:
            curves.append(Curve(who, "now", now))
            keys.append(("stroke now", who))
    if not curves:
        return None
    gaps = [f"{curve.who}: {words.percent(_gap(curve.bins), 1)}" for curve in curves]
    return section(
        "calibration",
        "Calibration",
        "On the diagonal a predicted probability is the share that really happens; above it the model says "
        "too little, below it too much.",
        figure(
            calibration(curves, f"Predicted against observed shares. Mean gap, {'; '.join(gaps)}"),
            [
                "Across: predicted; up: happened. Whiskers are two standard errors. Mean gap: ",
                "; ".join(gaps),
                ".",
            ],
            keys,
        ),
    )


def _verdict_about(subject: Subject, digest: str) -> dict[str, Any] | None:
    about = (
        one for one in reversed(subject.verdicts) if (one.get("challenger") or {}).get("digest") == digest
    )
    return next(about, None)


def _bins(found: Any) -> list[dict[str, Any]]:
    keys = ("rows", "predicted", "observed")
    return [
        one
        for one in found or ()
        if all(isinstance(one.get(key), int | float) for key in keys) and one["rows"] >= _FEW
    ]


def _gap(bins: Sequence[dict[str, Any]]) -> float:
    rows = sum(one["rows"] for one in bins)
    return float(sum(one["rows"] * abs(one["predicted"] - one["observed"]) for one in bins) / rows)

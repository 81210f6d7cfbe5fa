"""Which columns changed against the reference profile, since when, and how."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from windtunnel.report import words
from windtunnel.report.charts.matrix import LEVELS, cells
from windtunnel.report.charts.shapes import shapes
from windtunnel.report.charts.spark import spark
from windtunnel.report.columns import MOST_COLUMNS, compared, histories
from windtunnel.report.headline import sentence
from windtunnel.report.html import name, tag
from windtunnel.report.layout import badge, figure, more, note, section, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from windtunnel.monitoring.measures import Measure
    from windtunnel.report.columns import ColumnHistory
    from windtunnel.report.html import Child, Markup
    from windtunnel.report.subject import Subject

_LARGE = 12
"""Columns with a picture of their own."""
_STATISTICS = ("psi", "jensen_shannon", "ks", "wasserstein", "missing", "adjusted_p_value")
_NEEDED = 2
"""Windows that make a history."""


def drift(subject: Subject) -> Markup | None:
    windows = compared(subject.measures)
    found = histories(windows)
    if not found:
        return None
    shown, left = found[:MOST_COLUMNS], max(0, len(found) - MOST_COLUMNS)
    bad = [one for one in found if one.drifts]
    lead = (
        f"{len(bad)} of {words.count(len(found), 'column')} differ from the reference profile by more than "
        "chance and by enough to matter."
        if bad
        else f"None of {words.count(len(found), 'column')} differs from the reference profile by enough to "
        "matter."
    )
    return section(
        "drift",
        "Drift by feature",
        lead,
        _overview(shown, windows) if len(windows) >= _NEEDED else None,
        _multiples(found, windows),
        more("All statistics of the last window", _table(shown), _glossary()),
        note(f"{left:,} more columns, all drifted less, are left out.") if left else None,
    )


def _overview(found: Sequence[ColumnHistory], windows: Sequence[Measure]) -> Markup:
    rows = [
        tag(
            "div",
            tag("span", name(words.clip(one.name, 28)), class_="label drifts" if one.drifts else "label"),
            cells(
                one.levels,
                one.drifted,
                f"{words.clip(one.name)}: drifted in {sum(one.drifted)} of "
                f"{words.count(len(windows), 'window')}",
            ),
            class_="row",
        )
        for one in found
    ]
    # A window ends where the next one begins: its last day is the one before.
    days = (windows[0].window.start, windows[-1].window.end - timedelta(seconds=1))
    dates = tag(
        "div",
        tag("span", "windows", class_="label"),
        tag("span", *(tag("span", words.day(one)) for one in days), class_="ends"),
        class_="row dates",
    )
    scale = [tag("i", class_=f"cell level{number}") for number in range(LEVELS)]
    keys = tag(
        "div",
        tag("span", "same", scale, "very different", class_="key"),
        tag("span", tag("i", class_="cell flagged"), "drifted", class_="key"),
        class_="keys",
    )
    return tag("figure", keys, tag("div", rows, dates, class_="matrix"))


def _multiples(found: Sequence[ColumnHistory], windows: Sequence[Measure]) -> Markup:
    """What drifts or did; where nothing did, the rest is folded away."""
    told = [one for one in found if any(one.drifted)]
    chosen = (told or found)[:_LARGE]
    highest = max((effect for one in chosen for effect in one.effects if effect is not None), default=1.0)
    grid = tag("div", [_multiple(one, windows, highest) for one in chosen], class_="multiples")
    return grid if told else more("The columns that differ most", grid)


def _multiple(one: ColumnHistory, windows: Sequence[Measure], highest: float) -> Markup:
    reasons = [str(reason) for reason in one.now.get("reasons") or ()][:3]
    now = words.number(one.effects[-1], 2)
    says = f"{words.clip(one.name)}: effect over {words.count(len(windows), 'window')}, now {now}"
    return tag(
        "article",
        tag(
            "header",
            tag("h3", name(one.name)),
            badge("warning", "drifted") if one.drifts else badge("good", "same now"),
        ),
        tag(
            "p",
            one.kind,
            _value(", effect ", one.effects[-1]),
            _value(", PSI ", one.now.get("psi")),
            class_="kind",
        ),
        spark(one.effects, one.drifted, max(highest, 0.2), says) if len(windows) >= _NEEDED else None,
        _shape(one),
        tag("ul", [tag("li", sentence(reason)) for reason in reasons], class_="reasons") if reasons else None,
        class_="multiple",
    )


def _shape(one: ColumnHistory) -> Markup | None:
    histogram = one.now.get("histogram")
    if not isinstance(histogram, dict):
        return None
    labels = [words.clip(label) for label in histogram.get("labels", ())]
    before, now = (
        [float(share or 0.0) for share in histogram.get(key, ())] for key in ("reference", "current")
    )
    if not labels or not len(labels) == len(before) == len(now):
        return None
    return figure(
        shapes(labels, before, now, f"{words.clip(one.name)}: shares by value, before and now"),
        keys=(("block before", "reference"), ("block after", "now")),
    )


def _table(found: Sequence[ColumnHistory]) -> Markup:
    head = ("column", "kind", "rows", "PSI", "JS", "KS", "Wasserstein", "missing", "p, adjusted", "effect")
    rows: list[list[Child]] = []
    for one in found:
        figures = [words.number(_float(one.now.get(statistic)), 3) for statistic in _STATISTICS]
        figures[4] = words.percent(_float(one.now.get("missing")), 1)
        mark: Child = (
            [name(words.clip(one.name, 32)), tag("b", " drifted", class_="flag")]
            if one.drifts
            else name(words.clip(one.name, 32))
        )
        rows.append(
            [
                mark,
                one.kind,
                words.number(_float(one.now.get("rows"))),
                *figures,
                words.number(_float(one.now.get("effect")), 2),
            ]
        )
    return table(head, rows)


def _glossary() -> Markup:
    return note(
        "PSI (population stability index) and JS (Jensen-Shannon divergence) compare shares bin by bin, less "
        "what chance alone would show; KS (Kolmogorov-Smirnov) is the largest gap between the two cumulative "
        "shares; Wasserstein is how far values moved, in standard deviations of the reference. Of texts, the "
        "first two are of letter triples, the others of lengths. The p values account for looking at many "
        "columns and for rows of one day not being independent. The effect is the share of rows that would "
        "have to move to undo the change; only what is both significant and large enough has drifted."
    )


def _value(before: str, value: Any) -> str | None:
    found = _float(value)
    return None if found is None else before + words.number(found)


def _float(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None

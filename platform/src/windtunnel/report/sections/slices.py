"""Quality by slice: where the average hides something."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from windtunnel.report import words
from windtunnel.report.charts.intervals import axis, axis_row, interval_row
from windtunnel.report.html import name, tag
from windtunnel.report.layout import badge, note, section

if TYPE_CHECKING:
    from windtunnel.monitoring.measures import SliceQuality
    from windtunnel.report.charts.scale import Scale
    from windtunnel.report.html import Markup
    from windtunnel.report.subject import Subject

_MOST = 40


def slices(subject: Subject) -> Markup | None:
    measure = next((one for one in reversed(subject.measures) if one.slices), None)
    if measure is None:
        return None
    judged = [one for one in measure.slices if _difference(one) is not None]
    thin = len(measure.slices) - len(judged)
    # The bad ones, then the large ones, so that what is left out matters least.
    chosen = sorted(judged, key=lambda one: (not one.worse, -one.rows))[:_MOST]
    shared = axis(one.interval for one in chosen)
    worse = sum(one.worse for one in judged)
    lead = (
        f"{worse} of {words.count(len(judged), 'slice')} lost quality against the evaluation."
        if worse
        else f"No slice of {len(judged)} is shown to have lost quality against the evaluation."
    )
    parts: list[Markup] = []
    for column, rows in groupby(sorted(chosen, key=lambda one: one.column), lambda one: one.column):
        ordered = sorted(rows, key=lambda one: -(_difference(one) or 0.0))
        parts += [
            tag("h3", name(column)),
            tag("div", [_row(one, shared) for one in ordered], class_="forest"),
        ]
    left = len(judged) - len(chosen)
    hidden = [
        f"{words.count(thin, 'slice')} with too few labels" if thin else "",
        f"{left} small ones" if left else "",
    ]
    told = " and ".join(one for one in hidden if one)
    return section(
        "slices",
        "Slices",
        lead if judged else "No slice has enough labels yet to be judged.",
        parts,
        tag("div", axis_row(shared), class_="forest-axis") if chosen else None,
        note(f"Not shown: {told}.") if told else None,
    )


def _difference(one: SliceQuality) -> float | None:
    if one.loss is None or one.reference_loss is None or one.interval is None:
        return None
    return one.loss - one.reference_loss


def _row(one: SliceQuality, shared: Scale) -> Markup:
    difference = _difference(one)
    low, high = one.interval or (0.0, 0.0)
    better = high < 0
    says = (
        f"{words.clip(one.value)}: {words.number(one.loss)} where {words.number(one.reference_loss)} was "
        "promised, "
        f"difference {words.signed(difference)}, between {words.signed(low)} and {words.signed(high)}, "
        f"{words.count(one.labelled, 'labelled row')}"
    )
    return tag(
        "div",
        tag(
            "div",
            tag("span", name(one.value, 48), class_="label"),
            badge("critical", "worse") if one.worse else None,
            tag("span", f"{words.number(one.labelled)} rows", class_="rows"),
            class_="who",
        ),
        interval_row(shared, difference, one.interval, says, bad=one.worse, good=better),
        tag("span", words.signed(difference), class_="figure"),
        class_="row",
    )

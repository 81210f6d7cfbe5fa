"""First of all: how it is, and the figures behind that."""

from __future__ import annotations

from typing import TYPE_CHECKING

from windtunnel.report import words
from windtunnel.report.headline import headline, metric, sentence
from windtunnel.report.html import name, tag
from windtunnel.report.html import text as plain
from windtunnel.report.layout import badge, more

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from windtunnel.monitoring.measures import Finding, Measure
    from windtunnel.report.html import Child, Markup
    from windtunnel.report.subject import Subject

_STATES = {
    "quiet": ("good", "quiet"),
    "watching": ("warning", "watching"),
    "retrain": ("warning", "asked for"),
    "cooling_down": ("info", "cooling down"),
    "out_of_budget": ("critical", "out of budget"),
}
_OPEN, _MOST = 8, 30
"""Findings that are open to see, and those that can be unfolded."""
_ORDER = {"critical": 0, "warning": 1, "info": 2}


def verdict(subject: Subject) -> Markup:
    head, last = headline(subject), subject.last
    findings = sorted(last.findings, key=lambda one: _ORDER.get(one.severity, 3))[:_MOST] if last else []
    return tag(
        "section",
        tag(
            "div",
            badge(head.mood, head.word),
            tag("h2", head.sentences[0], id="verdict-title") if head.sentences else None,
            [tag("p", one) for one in head.sentences[1:]],
            class_=f"hero {head.mood}",
        ),
        tag("div", list(_tiles(subject)), class_="tiles"),
        _list(findings[:_OPEN]) if findings else None,
        more(words.count(len(findings) - _OPEN, "more finding"), _list(findings[_OPEN:]))
        if len(findings) > _OPEN
        else None,
        id="verdict",
        aria_labelledby="verdict-title",
    )


def _list(findings: Iterable[Finding]) -> Markup:
    return tag("ul", [_finding(one.severity, one.kind, one.text) for one in findings], class_="findings")


def _finding(severity: str, kind: str, text: str) -> Markup:
    mood = severity if severity in ("warning", "critical") else "info"
    return tag("li", badge(mood, kind.replace("_", " ")), tag("span", sentence(plain(text))))


def _tiles(subject: Subject) -> Iterator[Markup]:
    champion, last = subject.champion, subject.last
    if champion:
        yield _tile("Champion", ["version ", name(champion.version)], f"since {words.moment(champion.since)}")
    if last is None:
        return
    yield from _quality_tiles(last)
    if last.drift:
        every = len(last.drift.columns) + sum(
            one is not None for one in (last.drift.prediction, last.drift.label)
        )
        bad = len(last.drift.drifted)
        yield _tile("Drifted", f"{bad} of {every}", "columns", "warning" if bad else "good")
    yield _tile(
        "Predictions",
        words.number(last.window.rows),
        f"of {words.span(last.window.start, last.window.end)}",
    )
    if stale := [view for view, one in last.freshness.items() if one.stale]:
        yield _tile("Stale", f"{len(stale)} of {len(last.freshness)}", "feature views", "warning")
    if last.policy:
        mood, word = _STATES.get(last.policy.state, ("info", last.policy.state))
        used = last.policy.used_this_week
        yield _tile("Retraining", word, f"{words.count(used, 'time')} this week" if used else "", mood)


def _quality_tiles(last: Measure) -> Iterator[Markup]:
    quality, estimated = last.quality, last.estimated
    if quality:
        mood = "critical" if quality.worse else "good" if quality.enough else ""
        beside = f"promised {words.number(quality.reference_loss)}"
        yield _tile(metric(quality.metric), words.number(quality.loss), beside, mood)
        yield _tile(
            "Labels", words.percent(quality.coverage), f"{words.number(quality.labelled)} rows have one"
        )
    if estimated:
        mood = "warning" if estimated.worse else ""
        beside = f"{words.number(estimated.interval[0])} to {words.number(estimated.interval[1])}"
        yield _tile(f"Estimated {metric(estimated.metric)}", words.number(estimated.value), beside, mood)


def _tile(title: str, value: Child, beside: Child, mood: str = "") -> Markup:
    return tag(
        "div",
        tag("span", title, class_="title"),
        tag("strong", value),
        tag("span", beside, class_="beside"),
        class_=f"tile {mood}".strip(),
    )

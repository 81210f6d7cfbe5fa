"""How requests were answered: features as served, missing values, freshness, latency."""

from __future__ import annotations

from typing import TYPE_CHECKING

from windtunnel.report import words
from windtunnel.report.charts.bar import bar
from windtunnel.report.html import name, tag
from windtunnel.report.layout import badge, facts, more, section, table

if TYPE_CHECKING:
    from windtunnel.monitoring.measures import Measure
    from windtunnel.report.html import Child, Markup
    from windtunnel.report.subject import Subject


def health(subject: Subject) -> Markup | None:
    last = subject.last
    views = _views(subject)
    if last is None and views is None:
        return None
    return section(
        "health",
        "Features as served",
        "Whether requests got the features that training would have seen at that moment.",
        _answers(last) if last and last.window.rows else None,
        _skew(last) if last else None,
        views,
    )


def _answers(last: Measure) -> Markup:
    answers = last.answers
    roles = ", ".join(f"{role} {words.number(rows)}" for role, rows in sorted(answers.roles.items()))
    slowest = (
        f"{words.number(1000 * answers.latency_p50_seconds)} ms, 1 in 100 above "
        f"{words.number(1000 * answers.latency_p99_seconds)} ms"
        if answers.latency_p50_seconds is not None and answers.latency_p99_seconds is not None
        else None
    )
    return facts(
        [
            ("Answered by", roles),
            ("Missing inputs", words.percent(answers.missing_share, 1)),
            (
                "Rows with stale values",
                None if answers.stale_share is None else words.percent(answers.stale_share, 1),
            ),
            ("Half of the answers within", slowest),
            ("Logged", words.percent(last.window.sampled)),
        ]
    )


def _skew(last: Measure) -> list[Markup | None] | None:
    skew = last.skew
    if skew is None:
        return None
    said = (
        f"{words.number(skew.different)} of {words.number(skew.compared)} served values "
        f"({words.percent(skew.share, 1)}) differ from what the offline store knows for that moment, "
        f"in {words.count(skew.rows, 'row')} looked at."
    )
    told = any(one.kind == "skew" and one.severity != "info" for one in last.findings)
    mood = (
        badge("warning", "skew")
        if told
        else badge("good", "no skew" if skew.different == 0 else "little skew")
    )
    highest = max(skew.features.values(), default=1) or 1
    rows = [
        (name(feature), words.number(found), bar(found / highest, f"{feature}: {found} values", "amount bad"))
        for feature, found in sorted(skew.features.items(), key=lambda one: -one[1])[:20]
    ]
    examples = [
        (
            tag("code", name(one.get("prediction_id", ""), 40)),
            name(one.get("feature", "")),
            name(one.get("served", "")),
            name(one.get("offline", "")),
        )
        for one in skew.examples[:10]
    ]
    return [
        tag("p", mood, " ", said),
        table(("feature", "different", ""), rows) if rows else None,
        more("Examples", table(("prediction", "feature", "served", "offline"), examples))
        if examples
        else None,
    ]


def _views(subject: Subject) -> Markup | None:
    """The measure's, else what was published last."""
    last = subject.last
    found: dict[str, tuple[float | None, float | None, bool]]
    if last and last.freshness:
        found = {
            view: (one.age_seconds, one.objective_seconds, one.stale) for view, one in last.freshness.items()
        }
    else:
        found = {
            view: (one.age_seconds(subject.made), one.objective_seconds, one.is_stale(subject.made))
            for view, one in subject.freshness.items()
        }
    if not found:
        return None
    rows = [
        (
            name(view),
            words.duration(age),
            words.duration(objective) if objective else "none",
            _state(stale, objective),
        )
        for view, (age, objective, stale) in sorted(found.items(), key=lambda one: (not one[1][2], one[0]))[
            :50
        ]
    ]
    return table(("feature view", "newest event, age", "objective", ""), rows)


def _state(stale: bool, objective: float | None) -> Child:
    if objective is None:
        return words.MISSING
    return badge("warning", "stale") if stale else badge("good", "fresh")

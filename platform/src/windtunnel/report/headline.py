"""What the report says in one glance: a state, a word for it, and the sentences behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from windtunnel.report import words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from windtunnel.monitoring.measures import Measure
    from windtunnel.report.subject import Subject


@dataclass(frozen=True)
class Headline:
    """`mood`: good, warning, critical or info."""

    mood: str
    word: str
    sentences: tuple[str, ...]


def headline(subject: Subject) -> Headline:
    last, champion = subject.last, subject.champion
    if last is None:
        if champion is None:
            return Headline("info", "Nothing serves yet", (_no_champion(subject),))
        told = f"Version {champion.version} serves since {words.moment(champion.since)}."
        return Headline("info", "Not watched yet", (told, "No monitor run has measured it."))
    mood, word = _state(last)
    sentences = tuple(_sentences(last))
    if champion is not None and champion.digest != last.bundle:
        if last.policy is None:
            asked = f"Somebody asked about version {last.version}; version {champion.version} serves."
            return Headline("info" if mood == "good" else mood, f"{word}; asked for", (asked, *sentences))
        taken = (
            f"Version {champion.version} has the seat since {words.moment(champion.since)}; what is measured "
            f"here is version {last.version} before it. The next monitor run judges the new one."
        )
        return Headline("info" if mood == "good" else mood, f"{word}; replaced since", (taken, *sentences))
    return Headline(mood, word, sentences)


def _no_champion(subject: Subject) -> str:
    verdict = subject.verdict
    if verdict and verdict.get("decision") == "refuse":
        return "The gate refused what was trained last; see the verdict."
    return "No version has been promoted."


def _state(last: Measure) -> tuple[str, str]:
    severities = {finding.severity for finding in last.findings}
    if last.quality and last.quality.worse:
        return "critical", "Worse than promised"
    if not last.window.enough:
        return ("critical" if "critical" in severities else "info"), "Too little to say"
    if "critical" in severities:
        return "critical", "Needs attention"
    if last.concept and last.concept.detected:
        return "warning", "Concept drift"
    if last.estimated and last.estimated.worse:
        return "warning", "Likely worse"
    if last.drift and last.drift.drifted:
        return "warning", "Drifting"
    return ("warning", "Needs a look") if "warning" in severities else ("good", "Healthy")


def _sentences(last: Measure) -> Iterator[str]:
    quality, estimated = last.quality, last.estimated
    if quality and quality.enough:
        low, high = quality.interval
        held = "worse than" if quality.worse else "better than" if high < 0 else "as good as"
        yield (
            f"Version {last.version} is {held} promised: {metric(quality.metric)} "
            f"{words.number(quality.loss)}, its evaluation had {words.number(quality.reference_loss)}."
        )
        yield (
            f"The difference is {words.signed(quality.difference)}, between {words.signed(low)} and "
            f"{words.signed(high)}, from {words.count(quality.labelled, 'labelled row')}."
        )
    elif estimated:
        yield (
            f"{_few_labels(last)} From its own probabilities version {last.version} should have a "
            f"{metric(estimated.metric)} of {words.number(estimated.value)}, between "
            f"{words.number(estimated.interval[0])} and {words.number(estimated.interval[1])}; "
            f"its evaluation had {words.number(estimated.reference)}."
        )
    elif quality:
        yield _few_labels(last)
    if last.drift and last.drift.columns:
        yield _drift(last)
    if not last.window.enough:
        yield f"The window holds {words.count(last.window.rows, 'prediction')}: too few to compare."
    if last.policy and last.policy.reason and last.policy.state != "quiet":
        yield sentence(last.policy.reason)


def _few_labels(last: Measure) -> str:
    if last.quality is None:
        return "No labels have come yet."
    rows = words.count(last.quality.labelled, "row")
    return f"Labels have come for {rows} only: too few to say how good it is."


def _drift(last: Measure) -> str:
    drift = last.drift
    assert drift is not None
    every = [*drift.columns, *(one for one in (drift.prediction, drift.label) if one)]
    if not drift.drifted:
        return f"None of {words.count(len(every), 'column')} drifted."
    names = ", ".join(words.clip(name) for name in drift.drifted[:3])
    rest = len(drift.drifted) - 3
    return (
        f"{len(drift.drifted)} of {words.count(len(every), 'column')} drifted: {names}"
        + (f" and {rest} more" if rest > 0 else "")
        + "."
    )


def metric(name: str) -> str:
    """`log_loss` is read as log loss."""
    return name.replace("_", " ")


def sentence(text: str) -> str:
    """With a capital letter and a full stop."""
    plain = text.strip()
    if not plain:
        return ""
    first = plain.split(maxsplit=1)[0]
    # `log_loss` is a name, not a word, and so is what a colon follows.
    begun = plain if "_" in first or first.endswith(":") else plain[0].upper() + plain[1:]
    return begun if begun.endswith((".", "!", "?")) else f"{begun}."

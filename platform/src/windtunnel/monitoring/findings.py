"""What people should know of a measure, in sentences: what, how much, against what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from windtunnel.monitoring.measures import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from windtunnel.monitoring.measures import Measure
    from windtunnel.spec.monitoring import Monitoring

SKEW_SHARE: Final = 0.01
"""Of the compared values: fewer differences are told, but warn nobody."""
_NAMED: Final = 10
"""Columns that are told of one by one."""
_MISSING: Final = 0.5
"""Of the model's inputs: more without a value than this are hardly meant so."""
_STALE: Final = 0.001
"""Of the rows: fewer with a feature that is too old are told nobody."""
_UNLABELLED: Final = 0.1
"""Of the rows whose labels ought to have come: fewer without one are told nobody."""
_DIRECTIONS: Final = {
    "loss": "predictions are off by more than they promise",
    "more": "there are more positive labels (higher values) than the model promises",
    "fewer": "there are fewer positive labels (lower values) than the model promises",
}


def findings_of(measure: Measure, rule: Monitoring, notes: tuple[str, ...] = ()) -> tuple[Finding, ...]:
    """The gravest first; `notes` are what could not be measured, and why."""
    found = [
        *_quality(measure),
        *_concept(measure),
        *_estimated(measure),
        *_drift(measure),
        *_skew(measure),
        *_freshness(measure),
        *_labels(measure),
        *_data(measure, rule),
        *(Finding("data", "info", note) for note in notes),
    ]
    order = ("critical", "warning", "info")
    return tuple(sorted(found, key=lambda one: order.index(one.severity)))


def _quality(measure: Measure) -> Iterator[Finding]:
    told = measure.quality
    if told is None:
        return
    side = "above" if told.difference > 0 else "below"
    text = (
        f"{told.metric} of {told.labelled:,} labelled rows is {told.loss:.4f}, "
        f"{abs(told.difference):.4f} {side} the evaluation's {told.reference_loss:.4f} "
        f"(between {told.interval[0]:+.4f} and {told.interval[1]:+.4f})"
    )
    yield Finding("quality", "critical" if told.worse else "info", text)
    for one in measure.slices:
        if one.worse and one.loss is not None and one.reference_loss is not None:
            yield Finding(
                "quality",
                "warning",
                f"slice {one.column}={one.value}: {told.metric} of {one.labelled:,} labelled rows is "
                f"{one.loss:.4f}, at the evaluation it was {one.reference_loss:.4f}",
            )


def _concept(measure: Measure) -> Iterator[Finding]:
    told = measure.concept
    if told is None or not told.detected:
        return
    since = f" since {told.since:%Y-%m-%d}" if told.since else ""
    what = _DIRECTIONS[told.direction or "loss"]
    yield Finding(
        "concept",
        "warning",
        f"labels follow other rules than at the evaluation{since}: {what} (p {told.p_value:.2g} over "
        f"{told.days:,} days)",
    )


def _estimated(measure: Measure) -> Iterator[Finding]:
    told = measure.estimated
    if told is None:
        return
    text = (
        f"{told.metric} is estimated at {told.value:.4f} (between {told.interval[0]:.4f} and "
        f"{told.interval[1]:.4f}) from {told.rows:,} predictions, without waiting for labels; at the "
        f"evaluation it was {told.reference:.4f}"
    )
    yield Finding("estimated_quality", "warning" if told.worse else "info", text)


def _drift(measure: Measure) -> Iterator[Finding]:
    if measure.drift is None:
        return
    drift = measure.drift
    columns = [*drift.columns, *(one for one in (drift.prediction, drift.label) if one is not None)]
    drifted = [one for one in columns if one["drifted"]]
    for one in drifted[:_NAMED]:
        yield Finding("drift", "warning", f"{one['column']}: {'; '.join(one['reasons'])}")
    if len(drifted) > _NAMED:
        more = ", ".join(str(one["column"]) for one in drifted[_NAMED:])
        yield Finding("drift", "warning", f"{len(drifted) - _NAMED:,} more columns drifted: {more}")


def _skew(measure: Measure) -> Iterator[Finding]:
    told = measure.skew
    if told is None or not told.different:
        return
    worst = sorted(told.features, key=lambda name: -told.features[name])[:3]
    yield Finding(
        "skew",
        "warning" if told.share > SKEW_SHARE else "info",
        f"{told.different:,} of {told.compared:,} served values ({told.share:.1%}) differ from what the "
        f"offline store knows of the same entity and moment, most of {', '.join(worst)}",
    )


def _freshness(measure: Measure) -> Iterator[Finding]:
    for view, one in measure.freshness.items():
        if one.stale and one.objective_seconds is not None:
            age = "infinitely" if one.age_seconds is None else f"{one.age_seconds / 3600:,.1f} h"
            objective = f"{one.objective_seconds / 3600:,.1f} h"
            yield Finding(
                "freshness",
                "warning",
                f"view {view}: its newest event is {age} old, the objective is {objective}",
            )


def _labels(measure: Measure) -> Iterator[Finding]:
    told = measure.labels
    if told is None or told.missing <= _UNLABELLED * told.due:
        return
    if told.complete and told.late > _UNLABELLED * told.due:
        yield Finding(
            "data",
            "warning",
            f"labels are late: {told.late:,} predictions ought to have one by now, but they are known up to "
            f"{told.complete} only; load newer days, or let label.delayDays say how late they come",
        )
    else:
        yield Finding(
            "data",
            "info",
            f"{told.missing / told.due:.0%} of the {told.due:,} predictions that ought to have a label by "
            "now have none",
        )


def _data(measure: Measure, rule: Monitoring) -> Iterator[Finding]:
    window, answers = measure.window, measure.answers
    if not window.rows:
        yield Finding("data", "warning", f"version {measure.version} answered nothing in this window")
    elif not window.enough:
        yield Finding(
            "data", "info", f"too little to say: {window.rows:,} predictions, {rule.min_rows:,} are needed"
        )
    if answers.roles.get("fallback"):
        yield Finding(
            "data",
            "info",
            f"the champion stood in for a challenger that failed on {answers.roles['fallback']:,} rows",
        )
    if answers.missing_share > _MISSING:
        yield Finding("data", "warning", f"{answers.missing_share:.0%} of the model's inputs had no value")
    if answers.stale_share and answers.stale_share >= _STALE:
        yield Finding(
            "data", "info", f"{answers.stale_share:.1%} of the rows had a feature that was too old to be used"
        )

"""From what was read to samples: pure, one function for each group of metrics."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final, get_args

from windtunnel.monitoring.measures import PolicyState
from windtunnel.spec.servedmodel import Phase

if TYPE_CHECKING:
    from windtunnel.exporter.lifecycle_reader import LifecycleState
    from windtunnel.exporter.metrics import Samples
    from windtunnel.exporter.totals import RetentionTotals, Totals
    from windtunnel.features.freshness import ViewFreshness
    from windtunnel.monitoring.measures import Drift, Measure
    from windtunnel.spec.servedmodel import ServedModel

MOST_COLUMNS: Final = 50
"""Of a lifecycle's columns, prediction and label among them; the most drifted come first."""
STATISTICS: Final = ("psi", "jensen_shannon", "ks", "wasserstein")
OUTCOMES: Final = ("success", "failed")
NO_ROLLOUT: Final = "None"
ROLLOUT_PHASES: Final = (NO_ROLLOUT, "Shadow", "Canary", "Paused")
PHASES: Final[tuple[str, ...]] = get_args(Phase)
POLICY_STATES: Final[tuple[str, ...]] = get_args(PolicyState)


def describe(state: LifecycleState, samples: Samples) -> None:
    """Everything that the object store says of a lifecycle."""
    if state.complete:
        stages(state.name, state.totals, samples)
        ledger(state.name, state.totals, samples)
        retention(state.name, state.totals.retention, samples)
    for view, freshness in state.freshness.items():
        feature_view(state.name, view, freshness, samples)
    if state.measure is not None:
        measured(state.name, state.measure, samples)


def stages(lifecycle: str, totals: Totals, samples: Samples) -> None:
    for name, stage in totals.stages.items():
        at = (lifecycle, name)
        for outcome in OUTCOMES:
            samples.add("windtunnel_stage_runs_total", stage.runs.get(outcome, 0), *at, outcome)
        for reason, count in stage.failures.items():
            samples.add("windtunnel_stage_failures_total", count, *at, reason)
            samples.add(
                "windtunnel_stage_last_failure_timestamp_seconds", stage.last_failure[reason], *at, reason
            )
        for reason, count in Counter(why for _, _, why in stage.failing.values()).items():
            samples.add("windtunnel_stage_failing", count, *at, reason)
        samples.add("windtunnel_stage_last_success_timestamp_seconds", stage.last_success, *at)
        samples.add("windtunnel_stage_last_duration_seconds", stage.last_seconds, *at)
        samples.add("windtunnel_stage_cpu_seconds_total", stage.cpu_seconds, *at)
        samples.add("windtunnel_stage_peak_memory_bytes", stage.peak_memory, *at)
        samples.add("windtunnel_stage_cost_total", stage.cost, *at)
        samples.add("windtunnel_stage_longest_gap_seconds", stage.longest_gap, *at)
    for source, rows in totals.rejected.items():
        samples.add("windtunnel_feature_rejected_rows_total", rows, lifecycle, source)


def ledger(lifecycle: str, totals: Totals, samples: Samples) -> None:
    for action, count in totals.ledger.items():
        samples.add("windtunnel_ledger_entries_total", count, lifecycle, action)
        samples.add(
            "windtunnel_ledger_last_entry_timestamp_seconds", totals.ledger_last[action], lifecycle, action
        )


def retention(lifecycle: str, totals: RetentionTotals, samples: Samples) -> None:
    for kind, (objects, size) in totals.kept.items():
        samples.add("windtunnel_retention_kept_objects", objects, lifecycle, kind)
        samples.add("windtunnel_retention_kept_bytes", size, lifecycle, kind)
    for kind, (objects, size) in totals.swept.items():
        samples.add("windtunnel_retention_swept_objects_total", objects, lifecycle, kind)
        samples.add("windtunnel_retention_swept_bytes_total", size, lifecycle, kind)


def feature_view(lifecycle: str, view: str, freshness: ViewFreshness, samples: Samples) -> None:
    newest = freshness.newest_event
    samples.add(
        "windtunnel_feature_newest_event_timestamp_seconds",
        newest.timestamp() if newest else None,
        lifecycle,
        view,
    )
    samples.add(
        "windtunnel_feature_freshness_objective_seconds", freshness.objective_seconds, lifecycle, view
    )
    samples.add("windtunnel_feature_rows", freshness.rows, lifecycle, view)


def measured(lifecycle: str, measure: Measure, samples: Samples) -> None:
    """What the newest measure says; what it could not say has no series."""
    at, version = (lifecycle,), (lifecycle, measure.version)
    samples.add("windtunnel_monitor_last_window_end_timestamp_seconds", measure.window.end.timestamp(), *at)
    samples.add("windtunnel_monitor_window_rows", measure.window.rows, *at)
    samples.add("windtunnel_model_missing_inputs_ratio", measure.answers.missing_share, *at)
    if quality := measure.quality:
        samples.add("windtunnel_model_loss", quality.loss, *version)
        samples.add("windtunnel_model_quality_worse", quality.worse, *at)
    if measure.labels and measure.labels.due:
        share = 1.0 - measure.labels.missing / measure.labels.due
        samples.add("windtunnel_model_label_coverage_ratio", share, *at)
    if estimated := measure.estimated:
        samples.add("windtunnel_model_estimated_loss", estimated.value, *version)
        samples.add("windtunnel_model_estimated_worse", estimated.worse, *at)
    samples.add("windtunnel_model_reference_loss", _reference_loss(measure), *version)
    if measure.concept:
        samples.add("windtunnel_model_concept_drift", measure.concept.detected, *at)
    if measure.skew:
        samples.add("windtunnel_model_skew_ratio", measure.skew.share, *at)
    samples.add("windtunnel_model_slices_worse", sum(one.worse for one in measure.slices), *at)
    if measure.drift:
        samples.add("windtunnel_model_drifted_columns", len(measure.drift.drifted), *at)
        drift(lifecycle, measure.drift, samples)
    found = Counter((finding.kind, finding.severity) for finding in measure.findings)
    for (kind, severity), count in found.items():
        samples.add("windtunnel_model_findings", count, *at, kind, severity)
    if measure.policy:
        samples.add_state("windtunnel_retraining_state", POLICY_STATES, measure.policy.state, *at)
        samples.add("windtunnel_retraining_used_this_week", measure.policy.used_this_week, *at)


def _reference_loss(measure: Measure) -> float | None:
    if measure.quality:
        return measure.quality.reference_loss
    return measure.estimated.reference if measure.estimated else None


def drift(lifecycle: str, drift: Drift, samples: Samples) -> None:
    """The statistics of at most 50 columns."""
    outputs = [("prediction", drift.prediction), ("label", drift.label)]
    shown = {name: one for name, one in outputs if one is not None}
    for one in drift.columns:
        if len(shown) >= MOST_COLUMNS:
            break
        # A feature may be called `prediction`, and names are cut to what a label may hold.
        shown.setdefault(str(one.get("column"))[:100], one)
    for name, one in shown.items():
        for statistic in STATISTICS:
            samples.add("windtunnel_model_drift", one.get(statistic), lifecycle, name, statistic)


def served(model: ServedModel, samples: Samples) -> None:
    """What a ServedModel says: who has which role, and how far a rollout is."""
    spec, status, at = model.spec, model.status, (model.spec.lifecycle,)
    roles = {"champion": spec.champion, "challenger": spec.challenger, "previous": spec.previous}
    for role, version in roles.items():
        if version is not None:
            samples.add("windtunnel_model_info", 1, *at, version.version, role)
    samples.add_state(
        "windtunnel_rollout_phase", ROLLOUT_PHASES, spec.rollout.phase if spec.rollout else NO_ROLLOUT, *at
    )
    samples.add(
        "windtunnel_rollout_step_since_timestamp_seconds",
        spec.rollout.since.timestamp() if spec.rollout else None,
        *at,
    )
    samples.add("windtunnel_rollout_traffic_ratio", 1 - spec.traffic / 100, *at, spec.champion.version)
    if spec.challenger is not None:
        samples.add("windtunnel_rollout_traffic_ratio", spec.traffic / 100, *at, spec.challenger.version)
    if status is None:
        return
    samples.add_state("windtunnel_served_model_phase", PHASES, status.phase, *at)
    ready, _, wanted = status.ready.partition("/")
    samples.add("windtunnel_served_model_ready_pods", _number(ready), *at)
    samples.add("windtunnel_served_model_wanted_pods", _number(wanted), *at)
    for condition in status.conditions:
        samples.add("windtunnel_served_model_condition", condition.status == "True", *at, condition.type)


def _number(text: str) -> float | None:
    return float(text) if text.isdigit() else None

"""Every metric that the exporter shows: name, kind, labels, and how many series there can be.

`docs/metrics.md` has the same table with more words, and a test keeps the two alike. Names and units follow
Prometheus' conventions: seconds, bytes, ratios from 0 to 1, `_total` for what only grows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal

LONGEST_LABEL: Final = 120
"""Characters of a label's value: columns and versions are named by users."""
Kind = Literal["counter", "gauge"]
_ESCAPED: Final = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


@dataclass(frozen=True)
class Metric:
    """One metric; all but the exporter's own have `lifecycle` as their first label."""

    name: str
    help: str
    labels: tuple[str, ...] = ()

    @property
    def kind(self) -> Kind:
        return "counter" if self.name.endswith("_total") else "gauge"


def _of(name: str, help_: str, *labels: str) -> Metric:
    return Metric(name, help_, ("lifecycle", *labels))


METRICS: Final[dict[str, Metric]] = {
    metric.name: metric
    for metric in (
        # Stages.
        _of("windtunnel_stage_runs_total", "Tries of a stage that ended, by outcome.", "stage", "outcome"),
        _of("windtunnel_stage_failures_total", "Tries of a stage that failed, by reason.", "stage", "reason"),
        _of("windtunnel_stage_last_success_timestamp_seconds", "When a stage last ended well.", "stage"),
        _of(
            "windtunnel_stage_last_failure_timestamp_seconds",
            "When a stage last failed for a reason.",
            "stage",
            "reason",
        ),
        _of(
            "windtunnel_stage_failing",
            "Parts of a stage whose last try failed, by its reason.",
            "stage",
            "reason",
        ),
        _of("windtunnel_stage_last_duration_seconds", "Longest try of a stage in its last run.", "stage"),
        _of("windtunnel_stage_cpu_seconds_total", "CPU time that a stage has used.", "stage"),
        _of(
            "windtunnel_stage_peak_memory_bytes", "Most memory of a try of a stage in its last run.", "stage"
        ),
        _of(
            "windtunnel_stage_cost_total",
            "What a stage has cost, in the currency of stages.classes.*.pricePerHour.",
            "stage",
        ),
        _of(
            "windtunnel_stage_longest_gap_seconds",
            "Longest of the last gaps between runs of a stage that nobody started by hand.",
            "stage",
        ),
        # Features.
        _of(
            "windtunnel_feature_newest_event_timestamp_seconds",
            "Newest event timestamp of a feature view in the online store.",
            "view",
        ),
        _of("windtunnel_feature_freshness_objective_seconds", "How old it may be, by the spec.", "view"),
        _of("windtunnel_feature_rows", "Keys of a view that the last publishing run wrote.", "view"),
        _of("windtunnel_feature_rejected_rows_total", "Rows of a source that were set aside.", "source"),
        # Retention: the newest sweep, and all of them.
        _of("windtunnel_retention_kept_objects", "Objects that the last sweep left, by kind.", "kind"),
        _of("windtunnel_retention_kept_bytes", "Bytes that the last sweep left, by kind.", "kind"),
        _of("windtunnel_retention_swept_objects_total", "Objects that were taken away, by kind.", "kind"),
        _of("windtunnel_retention_swept_bytes_total", "Bytes that were taken away, by kind.", "kind"),
        # Models: the newest measure.
        _of("windtunnel_model_info", "1 for each model version that has a role.", "version", "role"),
        _of("windtunnel_model_loss", "Loss per row on the labelled rows of the last window.", "version"),
        _of("windtunnel_model_reference_loss", "Loss per row at the version's evaluation.", "version"),
        _of("windtunnel_model_estimated_loss", "Loss per row as estimated without labels.", "version"),
        _of("windtunnel_model_quality_worse", "1 when the loss is shown to be worse than at evaluation."),
        _of("windtunnel_model_estimated_worse", "1 when the estimated loss is worse than at evaluation."),
        _of("windtunnel_model_concept_drift", "1 when the sequential test of the loss has found a change."),
        _of("windtunnel_model_slices_worse", "Slices whose loss is shown to be worse than at evaluation."),
        _of(
            "windtunnel_model_drift",
            "How far a column of the last window lies from the reference profile.",
            "column",
            "statistic",
        ),
        _of("windtunnel_model_drifted_columns", "Columns that drifted, prediction and label among them."),
        _of("windtunnel_model_skew_ratio", "Feature values that were served otherwise than they are stored."),
        _of(
            "windtunnel_model_label_coverage_ratio",
            "Predictions that ought to have a label by now, and have one.",
        ),
        _of(
            "windtunnel_model_missing_inputs_ratio", "Inputs of the last window without a value of their own."
        ),
        _of("windtunnel_model_findings", "Findings of the last measure.", "kind", "severity"),
        _of("windtunnel_monitor_last_window_end_timestamp_seconds", "End of the last window."),
        _of("windtunnel_monitor_window_rows", "Rows of the last window."),
        _of("windtunnel_retraining_state", "1 for the state of the retraining policy.", "state"),
        _of("windtunnel_retraining_used_this_week", "Retrainings that count against the week's budget."),
        # What was done.
        _of("windtunnel_ledger_entries_total", "Entries of the ledger, by action.", "action"),
        _of("windtunnel_ledger_last_entry_timestamp_seconds", "When the last one was written.", "action"),
        # What serves.
        _of("windtunnel_served_model_phase", "1 for the phase of a ServedModel.", "phase"),
        _of(
            "windtunnel_served_model_condition", "1 when a condition is True, 0 when it is not.", "condition"
        ),
        _of("windtunnel_served_model_ready_pods", "Pods that serve the champion."),
        _of("windtunnel_served_model_wanted_pods", "Pods that should serve the champion."),
        _of("windtunnel_rollout_phase", "1 for the phase of the rollout, None without one.", "phase"),
        _of("windtunnel_rollout_step_since_timestamp_seconds", "When the present step of a rollout began."),
        _of("windtunnel_rollout_traffic_ratio", "Requests that a version answers.", "version"),
        # The exporter itself.
        Metric("windtunnel_exporter_lifecycles", "Lifecycles that were found."),
        Metric("windtunnel_exporter_waiting_records", "Stage records that are still to be read."),
        Metric("windtunnel_exporter_refresh_seconds", "How long the last look took."),
        Metric(
            "windtunnel_exporter_last_refresh_timestamp_seconds",
            "End of the last look that every store answered.",
        ),
        Metric("windtunnel_exporter_read_failures_total", "What could not be read.", ("of",)),
    )
}


class Samples:
    """Values by metric and labels; of two for the same labels (names may be cut to the same) the first."""

    def __init__(self) -> None:
        self._values: dict[str, dict[tuple[str, ...], float]] = {}

    def add(self, name: str, value: float | None, *labels: str) -> None:
        """None, NaN and infinity are no value: the series is left out."""
        metric = METRICS[name]
        if len(labels) != len(metric.labels):
            raise ValueError(f"{name} has the labels {metric.labels}, not {labels}")
        if value is None or not math.isfinite(value):
            return
        # JSON may hold half a surrogate pair, which is no text
        shortened = tuple(label[:LONGEST_LABEL].encode(errors="replace").decode() for label in labels)
        values = self._values.setdefault(name, {})
        values.setdefault(shortened, float(value))

    def add_state(self, name: str, states: tuple[str, ...], current: str, *labels: str) -> None:
        """1 for the current state, 0 for the others: so that a state which ended does not stay."""
        for state in states:
            self.add(name, float(state == current), *labels, state)

    def value(self, name: str, *labels: str) -> float | None:
        return self._values.get(name, {}).get(labels)

    def count(self) -> int:
        return sum(len(values) for values in self._values.values())

    def names(self) -> set[str]:
        return set(self._values)

    def labels(self, name: str) -> list[tuple[str, ...]]:
        """Of the series of a metric."""
        return list(self._values.get(name, ()))

    def text(self) -> bytes:
        """In Prometheus' text format. prometheus-client's own writer takes five times as long, a second for
        200 lifecycles, in which scrapes would wait for the interpreter.
        """
        parts = []
        for name, values in self._values.items():
            metric = METRICS[name]
            parts.append(f"# HELP {name} {metric.help}\n# TYPE {name} {metric.kind}\n")
            named = ",".join(f'{label}="%s"' for label in metric.labels)
            line = f"{name}{{{named}}} %r\n" if named else f"{name} %r\n"
            parts += [
                line % (*(label.translate(_ESCAPED) for label in labels), value)
                for labels, value in values.items()
            ]
        return "".join(parts).encode()

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from recorded import NOON, column, measure, served_model, stage_record, view_state

from windtunnel.exporter.families import MOST_COLUMNS, describe, served
from windtunnel.exporter.lifecycle_reader import LifecycleState
from windtunnel.exporter.metrics import Samples
from windtunnel.exporter.totals import Totals
from windtunnel.monitoring.measures import Drift, Labels
from windtunnel.objects import Entry
from windtunnel.spec.failures import Reason
from windtunnel.spec.servedmodel import ServedModel


def shown(**state: Any) -> Samples:
    samples = Samples()
    describe(LifecycleState("shop", **{"complete": True, **state}), samples)
    return samples


def served_samples(**changes: Any) -> Samples:
    model = {**served_model(**changes.pop("spec", {})), **changes}
    samples = Samples()
    served(
        ServedModel.model_validate({"apiVersion": "windtunnel.dev/v1alpha1", "kind": "ServedModel", **model}),
        samples,
    )
    return samples


def test_what_is_kept_and_what_was_taken_away_is_shown_by_kind() -> None:
    amounts = {
        "kept": {"cache": {"objects": 5, "bytes": 50}},
        "swept": {"cache": {"objects": 3, "bytes": 30}},
    }
    made = Totals()
    made.count(Entry("1", 1, "", NOON), stage_record("retain", facts={**amounts, "dry_run": False}).to_json())
    samples, at = shown(totals=made), ("shop", "cache")
    assert samples.value("windtunnel_retention_kept_objects", *at) == 5
    assert samples.value("windtunnel_retention_kept_bytes", *at) == 50
    assert samples.value("windtunnel_retention_swept_objects_total", *at) == 3
    assert samples.value("windtunnel_retention_swept_bytes_total", *at) == 30


def totals() -> Totals:
    made = Totals(rejected={"orders": 3})
    records = (stage_record(price=3.6), stage_record(reason=Reason.TIMEOUT, seconds=100, memory=50))
    for number, record in enumerate(records):
        made.count(Entry(str(number), 1, "", NOON), record.to_json())
    made.enter(1, json.dumps({"action": "promotion", "written": NOON.isoformat()}).encode())
    return made


def test_stages_and_the_ledger_are_shown() -> None:
    samples = shown(totals=totals())
    at = ("shop", "train")
    assert samples.value("windtunnel_stage_runs_total", *at, "success") == 1
    assert samples.value("windtunnel_stage_failures_total", *at, "timeout") == 1
    assert samples.value("windtunnel_stage_failing", *at, "timeout") == 1
    assert samples.value("windtunnel_stage_last_success_timestamp_seconds", *at) == NOON.timestamp() + 60
    assert (
        samples.value("windtunnel_stage_last_failure_timestamp_seconds", *at, "timeout")
        == NOON.timestamp() + 100
    )
    assert samples.value("windtunnel_stage_last_duration_seconds", *at) == 100
    assert samples.value("windtunnel_stage_cpu_seconds_total", *at) == 80
    assert samples.value("windtunnel_stage_peak_memory_bytes", *at) == 1 << 20
    assert samples.value("windtunnel_stage_cost_total", *at) == pytest.approx(0.06)
    assert samples.value("windtunnel_feature_rejected_rows_total", "shop", "orders") == 3
    assert samples.value("windtunnel_ledger_entries_total", "shop", "promotion") == 1
    assert (
        samples.value("windtunnel_ledger_last_entry_timestamp_seconds", "shop", "promotion")
        == NOON.timestamp()
    )


def test_a_stage_that_never_failed_shows_a_zero_so_that_its_first_failure_is_an_increase() -> None:
    made = Totals()
    made.count(Entry("a", 1, "", NOON), stage_record().to_json())
    assert shown(totals=made).value("windtunnel_stage_runs_total", "shop", "train", "failed") == 0


def test_totals_are_not_shown_while_they_are_still_counted() -> None:
    samples = shown(totals=totals(), complete=False, freshness={"customer": view_state()})
    assert samples.names() == {
        "windtunnel_feature_newest_event_timestamp_seconds",
        "windtunnel_feature_freshness_objective_seconds",
        "windtunnel_feature_rows",
    }


def test_what_has_no_value_has_no_series() -> None:
    view = view_state(newest_event=None, objective_seconds=None)
    assert shown(freshness={"customer": view}).names() == {"windtunnel_feature_rows"}
    bare = measure(drift=None, quality=None, estimated=None, concept=None, skew=None, policy=None)
    names = shown(measure=bare).names()
    assert "windtunnel_model_loss" not in names
    assert "windtunnel_retraining_state" not in names
    assert "windtunnel_model_reference_loss" not in names
    too_new = measure(labels=Labels("2026-03-01", due=0, missing=0, late=0))
    assert "windtunnel_model_label_coverage_ratio" not in shown(measure=too_new).names()


def test_the_newest_measure_is_shown() -> None:
    samples = shown(measure=measure())
    expected = {
        ("windtunnel_model_loss", "3"): 0.7,
        ("windtunnel_model_reference_loss", "3"): 0.6,
        ("windtunnel_model_estimated_loss", "3"): 0.65,
        ("windtunnel_model_quality_worse",): 1,
        ("windtunnel_model_estimated_worse",): 0,
        ("windtunnel_model_concept_drift",): 1,
        ("windtunnel_model_slices_worse",): 1,
        ("windtunnel_model_label_coverage_ratio",): 0.75,
        ("windtunnel_model_missing_inputs_ratio",): 0.01,
        ("windtunnel_model_skew_ratio",): 0.01,
        ("windtunnel_model_drifted_columns",): 1,
        ("windtunnel_model_drift", "column_1", "psi"): 0.4,
        ("windtunnel_model_drift", "prediction", "psi"): 0.05,
        ("windtunnel_model_findings", "drift", "warning"): 2,
        ("windtunnel_model_findings", "quality", "critical"): 1,
        ("windtunnel_monitor_window_rows",): 4000,
        ("windtunnel_monitor_last_window_end_timestamp_seconds",): NOON.timestamp(),
        ("windtunnel_retraining_state", "watching"): 1,
        ("windtunnel_retraining_state", "quiet"): 0,
        ("windtunnel_retraining_used_this_week",): 1,
    }
    found = {key: samples.value(key[0], "shop", *key[1:]) for key in expected}
    assert found == expected
    assert samples.value("windtunnel_model_drift", "shop", "column_1", "wasserstein") is None


def test_without_labels_the_reference_is_that_of_the_estimate() -> None:
    samples = shown(measure=measure(quality=None))
    assert samples.value("windtunnel_model_reference_loss", "shop", "3") == 0.6
    assert samples.value("windtunnel_model_loss", "shop", "3") is None


def test_at_most_fifty_columns_are_shown_the_most_drifted_and_the_prediction_among_them() -> None:
    whole = measure(columns=400)
    assert whole.drift is not None
    label = replace(whole.drift, label=column("label"))
    samples = shown(measure=replace(whole, drift=label))
    columns = {labels[1] for labels in samples.labels("windtunnel_model_drift")}
    assert len(columns) == MOST_COLUMNS
    assert {"prediction", "label", "column_0", f"column_{MOST_COLUMNS - 3}"} <= columns


def test_hostile_columns_are_shown_or_left_out_but_break_nothing() -> None:
    columns = (
        column("x" * 5000), column("x" * 4000), column("prediction", 9.0), column('a"b\\c\n'),
        {"column": None, "psi": float("nan"), "ks": float("inf")}, {},
    )  # fmt: skip
    samples = shown(measure=measure(drift=Drift(columns, column("prediction", 0.05), None, ())))
    assert samples.value("windtunnel_model_drift", "shop", "prediction", "psi") == 0.05
    assert samples.value("windtunnel_model_drift", "shop", "x" * 100, "psi") == 0.4


@pytest.mark.parametrize(
    ("spec", "phase", "traffic"),
    [
        ({}, "None", {"3": 1.0}),
        ({"challenger": "4", "traffic": 25, "rollout": ("Canary")}, "Canary", {"3": 0.75, "4": 0.25}),
        ({"challenger": "4", "shadow": True, "rollout": ("Shadow")}, "Shadow", {"3": 1.0, "4": 0.0}),
    ],
)
def test_roles_and_the_rollout_are_shown(spec: dict[str, Any], phase: str, traffic: dict[str, float]) -> None:
    if name := spec.get("rollout"):
        spec = {**spec, "rollout": {"runId": "r", "phase": name, "since": NOON.isoformat()}}
    samples = served_samples(spec={**spec, "previous": "2"})
    assert samples.value("windtunnel_rollout_phase", "shop", phase) == 1
    assert (
        sum(
            samples.value("windtunnel_rollout_phase", "shop", p) or 0
            for p in ("None", "Shadow", "Canary", "Paused")
        )
        == 1
    )
    assert {v: samples.value("windtunnel_rollout_traffic_ratio", "shop", v) for v in traffic} == traffic
    assert samples.value("windtunnel_model_info", "shop", "3", "champion") == 1
    assert samples.value("windtunnel_model_info", "shop", "2", "previous") == 1
    since = samples.value("windtunnel_rollout_step_since_timestamp_seconds", "shop")
    assert since == (NOON.timestamp() if name else None)


def test_the_status_is_shown() -> None:
    transition = (NOON - timedelta(hours=1)).isoformat()
    conditions = [
        {"type": kind, "status": status, "reason": "R", "lastTransitionTime": transition}
        for kind, status in (("Available", "True"), ("Recorded", "False"), ("Degraded", "Unknown"))
    ]
    samples = served_samples(status={"phase": "Progressing", "ready": "1/3", "conditions": conditions})
    assert samples.value("windtunnel_served_model_phase", "shop", "Progressing") == 1
    assert samples.value("windtunnel_served_model_phase", "shop", "Ready") == 0
    assert samples.value("windtunnel_served_model_ready_pods", "shop") == 1
    assert samples.value("windtunnel_served_model_wanted_pods", "shop") == 3
    found = {
        c: samples.value("windtunnel_served_model_condition", "shop", c)
        for c in ("Available", "Recorded", "Degraded")
    }
    assert found == {"Available": 1, "Recorded": 0, "Degraded": 0}

"""What makes each alert fire, and what ends it: read by test_alerts.py, which asks promtool.

Series are in promtool's notation, one sample every `step` minutes from the beginning (`4x10` is 4 and ten
times 4 more, `0+6x10` climbs, `_x10` is nothing); minutes are counted from there.
"""

from __future__ import annotations

from dataclasses import dataclass, field

# The values' own, but for one that would take promtool days of minutes.
THRESHOLDS = {"monitorAge": 3600}

RELEASE = {"namespace": "windtunnel"}
LIFECYCLE = RELEASE | {"lifecycle": "flight_delay"}


def series(metric: str, values: str, **labels: str) -> dict[str, str]:
    """One series of the lifecycle, or with labels of its own in its place (lifecycle="" leaves it out)."""
    named = {key: value for key, value in (LIFECYCLE | labels).items() if value}
    return {metric + "{" + ", ".join(f'{key}="{value}"' for key, value in named.items()) + "}": values}


def histogram(metric: str, fast: str, slow: str) -> dict[str, str]:
    """Two of 100 calls a minute are slow for half an hour; buckets end at `fast` and `slow` seconds."""
    always = "0+100x100"
    return (
        series(f"{metric}_bucket", "0+100x10 1000+98x30 3940+100x60", le=fast)
        | series(f"{metric}_bucket", always, le=slow)
        | series(f"{metric}_bucket", always, le="+Inf")
    )


@dataclass(frozen=True)
class Case:
    """In minute `fires` the alert rings with these labels (beside severity) and this summary; in the minutes
    `quiet` and `ends` it does not."""

    alert: str
    input: dict[str, str]
    quiet: int
    fires: int
    ends: int
    severity: str
    summary: str
    labels: dict[str, str] = field(default_factory=lambda: LIFECYCLE)
    step: int = 1


_FAILING = "windtunnel_stage_failing"
_SUCCESS = "windtunnel_stage_last_success_timestamp_seconds"
_TRAIN = {"stage": "train"}
_LEDGER = "windtunnel_ledger_last_entry_timestamp_seconds"

CASES = (
    Case(
        "WindtunnelStageFailures",
        series(_FAILING, "_x5 1x25 stale", **_TRAIN, reason="out_of_memory"),
        quiet=14,
        fires=20,
        ends=35,
        severity="warning",
        summary="Stage train of flight_delay fails (out_of_memory).",
        labels=LIFECYCLE | _TRAIN | {"reason": "out_of_memory"},
    ),
    Case(
        "WindtunnelStagesFailEverywhere",
        series(_FAILING, "1x60", lifecycle="a", stage="train", reason="image_pull")
        | series(_FAILING, "1x60", lifecycle="b", stage="train", reason="image_pull")
        | series(_FAILING, "1x60", lifecycle="b", stage="monitor", reason="image_pull")
        | series(_FAILING, "2x30 stale", lifecycle="c", stage="extract", reason="image_pull"),
        quiet=5,
        fires=20,
        ends=35,
        severity="critical",
        summary="Stages of 3 lifecycles fail for one reason, image_pull.",
        labels=RELEASE | {"reason": "image_pull"},
    ),
    Case(
        "WindtunnelStageLate",
        series(_SUCCESS, "0x130 7860x60", **_TRAIN)
        | series("windtunnel_stage_longest_gap_seconds", "3600x190", **_TRAIN)
        # What does not come by itself has no gap, and is never late.
        | series(_SUCCESS, "0x190", stage="rollout"),
        quiet=104,
        fires=120,
        ends=135,
        severity="warning",
        summary="Stage train of flight_delay is late.",
        labels=LIFECYCLE | _TRAIN,
    ),
    Case(
        "WindtunnelFeatureStale",
        series("windtunnel_feature_newest_event_timestamp_seconds", "0x100 6060x60", view="weather")
        | series("windtunnel_feature_freshness_objective_seconds", "3600x160", view="weather"),
        quiet=59,
        fires=80,
        ends=105,
        severity="warning",
        summary="Feature view weather of flight_delay is stale.",
        labels=LIFECYCLE | {"view": "weather"},
    ),
    Case(
        "WindtunnelFeatureStale",
        series("windtunnel_feature_newest_event_timestamp_seconds", "_x60 3600x60", view="weather")
        | series("windtunnel_feature_freshness_objective_seconds", "_x10 86400x110", view="weather"),
        quiet=24,
        fires=40,
        ends=65,
        severity="warning",
        summary="Feature view weather of flight_delay is stale.",
        labels=LIFECYCLE | {"view": "weather"},
    ),
    Case(
        "WindtunnelRowsRejected",
        series("windtunnel_feature_rejected_rows_total", "0x10 50x90", source="flights"),
        quiet=9,
        fires=20,
        ends=80,
        severity="warning",
        summary="Rows of source flights of flight_delay were set aside.",
        labels=LIFECYCLE | {"source": "flights"},
    ),
    Case(
        "WindtunnelRowsRejected",
        series("windtunnel_feature_rejected_rows_total", "_x30 50x90", source="flights")
        | series("windtunnel_exporter_lifecycles", "0x120", lifecycle=""),
        quiet=29,
        fires=40,
        ends=50,
        severity="warning",
        summary="Rows of source flights of flight_delay were set aside.",
        labels=LIFECYCLE | {"source": "flights"},
    ),
    Case(
        # What a Prometheus that is new finds is no news.
        "WindtunnelRowsRejected",
        series("windtunnel_feature_rejected_rows_total", "50x20 60x90", source="flights")
        | series("windtunnel_exporter_lifecycles", "1x120", lifecycle=""),
        quiet=19,
        fires=30,
        ends=85,
        severity="warning",
        summary="Rows of source flights of flight_delay were set aside.",
        labels=LIFECYCLE | {"source": "flights"},
    ),
    Case(
        "WindtunnelDrift",
        series("windtunnel_model_drifted_columns", "0x10 3x60 0x60"),
        quiet=9,
        fires=20,
        ends=80,
        severity="warning",
        summary="The requests of flight_delay have drifted.",
    ),
    Case(
        "WindtunnelQualityWorse",
        series("windtunnel_model_quality_worse", "0x10 1x60 0x60"),
        quiet=9,
        fires=20,
        ends=80,
        severity="critical",
        summary="The champion of flight_delay predicts worse than at its evaluation.",
    ),
    Case(
        "WindtunnelEstimatedQualityWorse",
        series("windtunnel_model_estimated_worse", "0x10 1x60 0x60"),
        quiet=9,
        fires=20,
        ends=80,
        severity="warning",
        summary="The champion of flight_delay probably predicts worse than at its evaluation.",
    ),
    Case(
        "WindtunnelConceptDrift",
        series("windtunnel_model_concept_drift", "0x10 1x60 0x60"),
        quiet=9,
        fires=20,
        ends=80,
        severity="warning",
        summary="The errors of the champion of flight_delay have changed within the last window.",
    ),
    Case(
        "WindtunnelTrainingServingSkew",
        series("windtunnel_model_skew_ratio", "0.005x10 0.02x60 0x60"),
        quiet=9,
        fires=20,
        ends=80,
        severity="warning",
        summary="flight_delay is served features that its training would not have seen.",
    ),
    Case(
        "WindtunnelLabelsMissing",
        series("windtunnel_model_label_coverage_ratio", "0.9x200 0.1x100 0.9x60"),
        quiet=200,
        fires=280,
        ends=305,
        severity="warning",
        summary="The labels of flight_delay stay away.",
    ),
    Case(
        "WindtunnelMonitorLate",
        series("windtunnel_monitor_last_window_end_timestamp_seconds", "0x100 6000x30"),
        quiet=59,
        fires=80,
        ends=105,
        severity="warning",
        summary="Nobody has looked at flight_delay lately.",
    ),
    Case(
        "WindtunnelRetrainingOutOfBudget",
        series("windtunnel_retraining_state", "0x10 1x60 0x60", state="out_of_budget")
        | series("windtunnel_retraining_state", "1x10 0x60 1x60", state="quiet"),
        quiet=9,
        fires=20,
        ends=80,
        severity="critical",
        summary="flight_delay still drifts, and has used up its retrainings of this week.",
    ),
    Case(
        "WindtunnelNoChampionReady",
        series("windtunnel_served_model_wanted_pods", "2x60")
        | series("windtunnel_served_model_ready_pods", "1x10 0x20 2x30"),
        quiet=9,
        fires=15,
        ends=32,
        severity="critical",
        summary="Nothing answers for flight_delay.",
    ),
    Case(
        "WindtunnelServingErrors",
        series("windtunnel_serving_requests_total", "0+60x90", code="200", pod="a")
        | series("windtunnel_serving_requests_total", "0x10 0+3x20 60x60", code="503", pod="a"),
        quiet=9,
        fires=20,
        ends=45,
        severity="critical",
        summary="4.762% of the calls of flight_delay fail.",
    ),
    Case(
        "WindtunnelServingSlow",
        histogram("windtunnel_serving_request_seconds", fast="0.1", slow="0.5"),
        quiet=9,
        fires=30,
        ends=60,
        severity="warning",
        summary="flight_delay answers slowly.",
    ),
    Case(
        "WindtunnelOnlineStoreSlow",
        histogram("windtunnel_serving_online_read_seconds", fast="0.02", slow="0.5"),
        quiet=9,
        fires=30,
        ends=60,
        severity="warning",
        summary="flight_delay waits for its online features.",
    ),
    Case(
        "WindtunnelServingPodsDiffer",
        series("windtunnel_serving_model_info", "1x60", role="champion", version="4", pod="a")
        | series("windtunnel_serving_model_info", "_x5 1x25 stale", role="champion", version="3", pod="b"),
        quiet=4,
        fires=20,
        ends=35,
        severity="warning",
        summary="Pods of flight_delay serve 2 different champions.",
    ),
    Case(
        "WindtunnelServingWatchLost",
        series("windtunnel_serving_watch_connected", "1x10 0x20 1x30", pod="a"),
        quiet=9,
        fires=20,
        ends=35,
        severity="warning",
        summary="Serving pod a of flight_delay does not hear of promotions.",
        labels=LIFECYCLE | {"pod": "a"},
    ),
    Case(
        "WindtunnelBundleLoadFailures",
        series("windtunnel_serving_loads_total", "_x10 1x60", outcome="IntegrityError", pod="a")
        | series("windtunnel_serving_loads_total", "0x5 1x65", outcome="ok", pod="a"),
        quiet=9,
        fires=15,
        ends=40,
        severity="warning",
        summary="A bundle of flight_delay cannot be loaded (IntegrityError).",
        labels=LIFECYCLE | {"outcome": "IntegrityError"},
    ),
    Case(
        "WindtunnelBundleLoadFailures",
        series("windtunnel_serving_loads_total", "1x40 2x60", outcome="StoreError", pod="a"),
        quiet=30,
        fires=45,
        ends=60,
        severity="warning",
        summary="A bundle of flight_delay cannot be loaded (StoreError).",
        labels=LIFECYCLE | {"outcome": "StoreError"},
    ),
    Case(
        "WindtunnelPredictionLogDrops",
        series("windtunnel_serving_log_drops_total", "0x10 40x60", reason="buffer_full", pod="a"),
        quiet=9,
        fires=15,
        ends=40,
        severity="warning",
        summary="Predictions of flight_delay are missing from the log (buffer_full).",
        labels=LIFECYCLE | {"reason": "buffer_full"},
    ),
    Case(
        "WindtunnelPredictionLogStuck",
        # One put that failed, and much later many in a row.
        series("windtunnel_serving_log_store_failures_total", "0x5 1x35 1+1x20 21x60", pod="a"),
        quiet=17,
        fires=58,
        ends=75,
        severity="warning",
        summary="The prediction log of flight_delay does not reach the object store.",
    ),
    Case(
        "WindtunnelChallengerTakenBack",
        series(_LEDGER, "_x10 600x120", action="taken_back"),
        quiet=9,
        fires=15,
        ends=75,
        severity="warning",
        summary="The guard took the challenger of flight_delay back.",
    ),
    Case(
        "WindtunnelRolledBack",
        series(_LEDGER, "_x10 600x120", action="rollback"),
        quiet=9,
        fires=15,
        ends=75,
        severity="warning",
        summary="flight_delay was rolled back.",
    ),
    Case(
        "WindtunnelChallengerQuarantined",
        series(
            "windtunnel_serving_challenger_state",
            "0x10 1x30 stale",
            version="4",
            state="Quarantined",
            pod="a",
        ),
        quiet=9,
        fires=20,
        ends=45,
        severity="warning",
        summary="Challenger 4 of flight_delay is Quarantined.",
        labels=LIFECYCLE | {"version": "4", "state": "Quarantined"},
    ),
    Case(
        "WindtunnelRolloutStuck",
        series("windtunnel_rollout_phase", "1x146 0x6", phase="Paused"),
        quiet=1430,
        fires=1450,
        ends=1470,
        severity="info",
        summary="The rollout of flight_delay has waited a day for an approval.",
        step=10,
    ),
    Case(
        "WindtunnelExporterDown",
        series("windtunnel_exporter_last_refresh_timestamp_seconds", "_x20 1200+60x30", lifecycle=""),
        quiet=4,
        fires=10,
        ends=25,
        severity="critical",
        summary="Nobody counts stages, features and models.",
        labels={},
    ),
    Case(
        "WindtunnelExporterStale",
        series("windtunnel_exporter_last_refresh_timestamp_seconds", "0x30 1860+60x30", lifecycle=""),
        quiet=10,
        fires=20,
        ends=35,
        severity="warning",
        summary="The exporter shows an old picture.",
        labels=RELEASE,
    ),
    Case(
        "WindtunnelExporterReadFailures",
        series("windtunnel_exporter_read_failures_total", "0x5 0+1x40 40x60", lifecycle=""),
        quiet=5,
        fires=30,
        ends=70,
        severity="warning",
        summary="The exporter cannot read all records.",
        labels=RELEASE,
    ),
    Case(
        "WindtunnelSchedulerSilent",
        series("airflow_scheduler_heartbeat_total", "0+12x10 120x20 120+12x60", lifecycle=""),
        quiet=9,
        fires=20,
        ends=35,
        severity="critical",
        summary="Airflow's scheduler is silent.",
        labels=RELEASE,
    ),
    Case(
        "WindtunnelAirflowMetricsMissing",
        series("airflow_scheduler_heartbeat_total", "_x20 0+12x60", lifecycle=""),
        quiet=9,
        fires=15,
        ends=25,
        severity="critical",
        summary="Airflow's metrics are missing.",
        labels={},
    ),
    Case(
        "WindtunnelDagImportErrors",
        series("airflow_dag_processing_import_errors", "0x5 2x30 0x30", lifecycle=""),
        quiet=4,
        fires=20,
        ends=40,
        severity="warning",
        summary="2 DAG files cannot be imported.",
        labels=RELEASE,
    ),
    Case(
        "WindtunnelStagesWait",
        series("airflow_executor_open_slots", "4x10 0x60 4x30", lifecycle="")
        | series("airflow_executor_queued_tasks", "0x100", lifecycle="")
        | series("airflow_pool_scheduled_slots", "0x100", lifecycle="", pool_name="spare")
        | series("airflow_pool_scheduled_slots", "3x100", lifecycle="", pool_name="default_pool"),
        quiet=39,
        fires=50,
        ends=75,
        severity="warning",
        summary="Stages wait for a place.",
        labels=RELEASE,
    ),
    Case(
        "WindtunnelStagePodsRefused",
        # The first one is new as a series too, and the API server's own troubles are another matter.
        series("airflow_kubernetes_pod_creations_total", "_x10 1x10 3x80", lifecycle="", status="403")
        | series("airflow_kubernetes_pod_creations_total", "0+2x100", lifecycle="", status="200")
        | series("airflow_kubernetes_pod_creations_total", "0+2x100", lifecycle="", status="429"),
        quiet=10,
        fires=15,
        ends=60,
        severity="warning",
        summary="Stages are refused their pods (403).",
        labels=RELEASE | {"status": "403"},
    ),
    Case(
        "WindtunnelStagesWait",
        series("airflow_executor_open_slots", "8x100", lifecycle="")
        | series("airflow_pool_open_slots", "5x100", lifecycle="", pool_name="stage-small")
        | series("airflow_pool_scheduled_slots", "3x100", lifecycle="", pool_name="stage-small")
        | series("airflow_pool_open_slots", "2x10 0x60 2x30", lifecycle="", pool_name="stage-rollout")
        | series("airflow_pool_scheduled_slots", "3x100", lifecycle="", pool_name="stage-rollout"),
        quiet=39,
        fires=50,
        ends=75,
        severity="warning",
        summary="Stages wait for a place.",
        labels=RELEASE,
    ),
    Case(
        "WindtunnelTargetDown",
        series("up", "1x10 0x20 1x30", job="pods", component="serving", pod="a"),
        quiet=9,
        fires=20,
        ends=35,
        severity="warning",
        summary="Pod a (serving) does not answer its scrapes.",
        labels=LIFECYCLE | {"job": "pods", "component": "serving", "pod": "a"},
    ),
)

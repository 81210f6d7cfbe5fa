"""One lifecycle from its features to its ledger: the page that on-call opens after an alert."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dev.dashboards.panels import HERE, RED, lines, number, or_none, or_zero, page, states
from grafana_foundation_sdk.builders.dashboard import Row

if TYPE_CHECKING:
    from grafana_foundation_sdk.builders.dashboard import Dashboard


def dashboard() -> Dashboard:
    built = page(
        "Windtunnel / Lifecycle",
        "lifecycle",
        "One lifecycle: its model in production, drift, features, stages and rollouts.",
        "7d",
        lifecycles="one",
    )
    for part in (_now, _model, _features, _stages, _rollouts):
        built = part(built)
    return built


def _now(built: Dashboard) -> Dashboard:
    return (
        built.with_row(Row("Now"))
        .with_panel(
            number(
                "Champion",
                or_none(f'max by (version) (windtunnel_model_info{{role="champion", {HERE}}})', "version"),
                "The model version that serves.",
                legend="{{version}}",
                name_only=True,
            )
        )
        .with_panel(
            number(
                "Ready pods",
                or_zero(f"max(windtunnel_served_model_ready_pods{{{HERE}}})"),
                "Serving pods that answer.",
                steps=[(1, "green")],
                first=RED,
            )
        )
        .with_panel(
            number(
                "Alerts that fire",
                or_zero(f'count(ALERTS{{alertstate="firing", {HERE}}})'),
                "Of this lifecycle.",
                steps=[(1, RED)],
            )
        )
        .with_panel(
            number(
                "Rollout",
                or_none(f"max by (phase) (windtunnel_rollout_phase{{{HERE}}}) == 1", "phase"),
                "None, or the step that a challenger is in.",
                legend="{{phase}}",
                name_only=True,
            )
        )
        .with_panel(
            number(
                "Retraining",
                or_none(f"max by (state) (windtunnel_retraining_state{{{HERE}}}) == 1", "state"),
                "What the policy of the monitor stage last decided.",
                legend="{{state}}",
                name_only=True,
            )
        )
        .with_panel(
            number(
                "Last looked at",
                f"time() - max(windtunnel_monitor_last_window_end_timestamp_seconds{{{HERE}}})",
                "Time since the end of the last window that was measured.",
                unit="s",
            )
        )
        .with_panel(
            number(
                "Last trained",
                f'time() - max(windtunnel_stage_last_success_timestamp_seconds{{stage="train", {HERE}}})',
                "Time since the last training that succeeded.",
                unit="s",
            )
        )
        .with_panel(
            number(
                "Cost",
                or_zero(f"sum(increase(windtunnel_stage_cost_total{{{HERE}}}[$__range]))"),
                "Of its stages in the time shown, by the price of their classes.",
            )
        )
        .with_panel(
            states(
                "Alerts",
                or_none(
                    f'max by (alertname) (ALERTS{{alertstate="firing", {HERE}}})',
                    "alertname",
                ),
                "{{alertname}}",
                "When each alert fired; docs/runbooks has a page for each.",
                span=24,
                bad=True,
            )
        )
    )


def _model(built: Dashboard) -> Dashboard:
    return (
        built.with_row(Row("Model"))
        .with_panel(
            lines(
                "Loss",
                [
                    (f"max by (version) (windtunnel_model_loss{{{HERE}}})", "version {{version}}, labelled"),
                    (
                        f"max by (version) (windtunnel_model_estimated_loss{{{HERE}}})",
                        "version {{version}}, estimated",
                    ),
                    (
                        f"max by (version) (windtunnel_model_reference_loss{{{HERE}}})",
                        "version {{version}}, at evaluation",
                    ),
                ],
                "Of the last window, on labelled rows and estimated without; and at evaluation.",
            )
        )
        .with_panel(
            lines(
                "Drift by column",
                [
                    (
                        "topk(10, max by (column) "
                        f'(windtunnel_model_drift{{statistic="jensen_shannon", {HERE}}}))',
                        "{{column}}",
                    )
                ],
                "Jensen-Shannon distance of the ten columns that differ most from the reference profile.",
            )
        )
        .with_panel(
            lines(
                "Population stability by column",
                [
                    (
                        f'topk(10, max by (column) (windtunnel_model_drift{{statistic="psi", {HERE}}}))',
                        "{{column}}",
                    )
                ],
                "Population stability index, for those who know it best.",
            )
        )
        .with_panel(
            lines(
                "Drifted",
                [
                    (f"max(windtunnel_model_drifted_columns{{{HERE}}})", "columns"),
                    (f"max(windtunnel_model_slices_worse{{{HERE}}})", "slices that predict worse"),
                ],
                "Columns that differ significantly and by more than the floor; slices with a worse loss.",
            )
        )
        .with_panel(
            lines(
                "Window",
                [(f"max(windtunnel_monitor_window_rows{{{HERE}}})", "predictions")],
                "Predictions in the last window.",
            )
        )
        .with_panel(
            lines(
                "Shares",
                [
                    (f"max(windtunnel_model_label_coverage_ratio{{{HERE}}})", "with a label"),
                    (f"max(windtunnel_model_missing_inputs_ratio{{{HERE}}})", "inputs that were missing"),
                    (f"max(windtunnel_model_skew_ratio{{{HERE}}})", "values served otherwise than joined"),
                ],
                "Predictions that ought to have a label and have one; inputs that were missing; skew.",
                unit="percentunit",
            )
        )
    )


def _features(built: Dashboard) -> Dashboard:
    return (
        built.with_row(Row("Features"))
        .with_panel(
            lines(
                "Age",
                [
                    (
                        "time() - max by (view) "
                        f"(windtunnel_feature_newest_event_timestamp_seconds{{{HERE}}})",
                        "{{view}}",
                    ),
                    (
                        or_none(
                            f"max by (view) (windtunnel_feature_freshness_objective_seconds{{{HERE}}})",
                            "view",
                        ),
                        "{{view}}, allowed",
                    ),
                ],
                "Age of each view's newest event, and the age that the lifecycle allows, where it says so.",
                unit="s",
            )
        )
        .with_panel(
            lines(
                "Rows",
                [(f"max by (view) (windtunnel_feature_rows{{{HERE}}})", "{{view}}")],
                "Rows of each feature view.",
            )
        )
        .with_panel(
            lines(
                "Rows set aside",
                [
                    (
                        or_none(
                            "sum by (source) "
                            f"(increase(windtunnel_feature_rejected_rows_total{{{HERE}}}[1h]))",
                            "source",
                        ),
                        "{{source}}",
                    )
                ],
                "Rows of the hour before that did not meet their source's schema.",
                stacked=True,
            )
        )
    )


def _stages(built: Dashboard) -> Dashboard:
    def by_stage(metric: str) -> str:
        return f"max by (stage) ({metric}{{{HERE}}})"

    return (
        built.with_row(Row("Stages"))
        .with_panel(
            lines(
                "Tries",
                [
                    (
                        f"sum by (stage, outcome) (increase(windtunnel_stage_runs_total{{{HERE}}}[1h]))",
                        "{{stage}} {{outcome}}",
                    )
                ],
                "Tries that ended in the hour before.",
                stacked=True,
            )
        )
        .with_panel(
            lines(
                "Failures by reason",
                [
                    (
                        or_none(
                            "sum by (stage, reason) "
                            f"(increase(windtunnel_stage_failures_total{{{HERE}}}[1h]))",
                            "reason",
                        ),
                        "{{stage}} {{reason}}",
                    )
                ],
                "Failed tries in the hour before.",
                stacked=True,
            )
        )
        .with_panel(
            lines(
                "Since the last success",
                [(f"time() - {by_stage('windtunnel_stage_last_success_timestamp_seconds')}", "{{stage}}")],
                "Time since each stage last succeeded.",
                unit="s",
            )
        )
        .with_panel(
            lines(
                "Duration",
                [(by_stage("windtunnel_stage_last_duration_seconds"), "{{stage}}")],
                "Of the last try of each stage.",
                unit="s",
            )
        )
        .with_panel(
            lines(
                "Peak memory",
                [(by_stage("windtunnel_stage_peak_memory_bytes"), "{{stage}}")],
                "The most that a try of the stage has held; its class limits it.",
                unit="bytes",
            )
        )
        .with_panel(
            lines(
                "Kept",
                [(f"max by (kind) (windtunnel_retention_kept_bytes{{{HERE}}})", "{{kind}}")],
                "In the object store, as the last sweep of the retain stage left it.",
                unit="bytes",
                stacked=True,
            )
        )
        .with_panel(
            lines(
                "Taken away",
                [
                    (
                        f"sum by (kind) (increase(windtunnel_retention_swept_bytes_total{{{HERE}}}[1d]))",
                        "{{kind}}",
                    )
                ],
                "By the retain stage, in the day before.",
                unit="bytes",
                stacked=True,
            )
        )
        .with_panel(
            lines(
                "CPU",
                [
                    (
                        f"sum by (stage) (increase(windtunnel_stage_cpu_seconds_total{{{HERE}}}[1h]))",
                        "{{stage}}",
                    )
                ],
                "CPU seconds of the tries that ended in the hour before.",
                unit="s",
                stacked=True,
            )
        )
    )


def _rollouts(built: Dashboard) -> Dashboard:
    return (
        built.with_row(Row("Rollouts"))
        .with_panel(
            lines(
                "Traffic",
                [(f"max by (version) (windtunnel_rollout_traffic_ratio{{{HERE}}})", "version {{version}}")],
                "Share of the requests that each version answers.",
                unit="percentunit",
                stacked=True,
                highest=1,
            )
        )
        .with_panel(
            states(
                "Phase",
                f"max by (phase) (windtunnel_rollout_phase{{{HERE}}})",
                "{{phase}}",
                "The step of the rollout.",
            )
        )
        .with_panel(
            states(
                "Retraining",
                or_none(f"max by (state) (windtunnel_retraining_state{{{HERE}}})", "state"),
                "{{state}}",
                "The policy of the monitor stage: quiet, watching, retrain, cooling down, out of budget.",
            )
        )
        .with_panel(
            lines(
                "Ledger",
                [(f"max by (action) (windtunnel_ledger_entries_total{{{HERE}}})", "{{action}}")],
                "Entries so far: the story of promotions, refusals, rollbacks, drift and retrainings.",
                span=12,
            )
        )
        .with_panel(
            lines(
                "Retrainings of this week",
                [(or_zero(f"max(windtunnel_retraining_used_this_week{{{HERE}}})"), "used")],
                "Retrainings that drift has asked for; the lifecycle has a budget.",
                span=12,
            )
        )
    )

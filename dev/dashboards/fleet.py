"""All lifecycles at a glance: what needs somebody, and a table that leads to each of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dev.dashboards.panels import (
    RED,
    RELEASE,
    YELLOW,
    lines,
    number,
    or_none,
    or_zero,
    page,
    rows,
)
from grafana_foundation_sdk.builders.dashboard import Row

if TYPE_CHECKING:
    from grafana_foundation_sdk.builders.dashboard import Dashboard

_ALL = f"max by (lifecycle) (windtunnel_stage_runs_total{{{RELEASE}}})"
_STALE = (
    f"time() - max by (lifecycle, view) (windtunnel_feature_newest_event_timestamp_seconds{{{RELEASE}}}) > "
    f"max by (lifecycle, view) (windtunnel_feature_freshness_objective_seconds{{{RELEASE}}})"
)


def _each(expr: str) -> str:
    """`expr` by lifecycle, 0 for those that it says nothing of."""
    return f"{expr} or 0 * {_ALL}"


def dashboard() -> Dashboard:
    attention = [(1, RED)]
    return (
        page("Windtunnel / Fleet", "fleet", "Every lifecycle of the release: what needs somebody.", "24h")
        .with_row(Row("Needs somebody"))
        .with_panel(
            number(
                "Lifecycles",
                or_zero(f"count({_ALL})"),
                "Lifecycles that have run at least one stage.",
            )
        )
        .with_panel(
            number(
                "Alerts that fire",
                or_zero(f'count(ALERTS{{alertname=~"Windtunnel.*", alertstate="firing", {RELEASE}}})'),
                "Of this platform; each has a runbook.",
                steps=attention,
            )
        )
        .with_panel(
            number(
                "Without a champion",
                or_zero(
                    f"count(max by (lifecycle) (windtunnel_served_model_wanted_pods{{{RELEASE}}}) > 0 unless "
                    f"max by (lifecycle) (windtunnel_served_model_ready_pods{{{RELEASE}}}) > 0)"
                ),
                "Served models with no pod that is ready: nothing answers for them.",
                steps=attention,
            )
        )
        .with_panel(
            number(
                "Failing stages",
                or_zero(f"count(max by (lifecycle, stage) (windtunnel_stage_failing{{{RELEASE}}}) > 0)"),
                "Stages whose last try failed.",
                steps=attention,
            )
        )
        .with_panel(
            number(
                "Stale feature views",
                or_zero(f"count({_STALE})"),
                "Views whose newest event is older than the lifecycle's objective.",
                steps=attention,
            )
        )
        .with_panel(
            number(
                "Drifting",
                or_zero(f"count(max by (lifecycle) (windtunnel_model_drifted_columns{{{RELEASE}}}) > 0)"),
                "Lifecycles whose last window differs from the champion's reference profile.",
                steps=[(1, YELLOW)],
            )
        )
        .with_panel(
            number(
                "Predict worse",
                or_zero(f"count(max by (lifecycle) (windtunnel_model_quality_worse{{{RELEASE}}}) == 1)"),
                "Lifecycles whose champion is worse than at its evaluation, on labelled rows.",
                steps=attention,
            )
        )
        .with_panel(
            number(
                "Cost",
                or_zero(f"sum(increase(windtunnel_stage_cost_total{{{RELEASE}}}[$__range]))"),
                "Of the stages in the time shown, by stages.classes.*.pricePerHour.",
            )
        )
        .with_row(Row("Lifecycles"))
        .with_panel(
            rows(
                "Lifecycles",
                [
                    (
                        "Alerts",
                        _each(f'count by (lifecycle) (ALERTS{{alertstate="firing", {RELEASE}}})'),
                        "short",
                    ),
                    (
                        "Ready pods",
                        _each(f"max by (lifecycle) (windtunnel_served_model_ready_pods{{{RELEASE}}})"),
                        "short",
                    ),
                    (
                        "Requests/s",
                        _each(
                            "sum by (lifecycle) "
                            f"(rate(windtunnel_serving_requests_total{{{RELEASE}}}[$__rate_interval]))"
                        ),
                        "reqps",
                    ),
                    (
                        "Drifted columns",
                        _each(f"max by (lifecycle) (windtunnel_model_drifted_columns{{{RELEASE}}})"),
                        "short",
                    ),
                    (
                        "Loss",
                        f"max by (lifecycle) (windtunnel_model_loss{{{RELEASE}}}) or "
                        f"max by (lifecycle) (windtunnel_model_estimated_loss{{{RELEASE}}})",
                        "short",
                    ),
                    (
                        "At evaluation",
                        f"max by (lifecycle) (windtunnel_model_reference_loss{{{RELEASE}}})",
                        "short",
                    ),
                    (
                        "Since training",
                        "time() - max by (lifecycle) "
                        f'(windtunnel_stage_last_success_timestamp_seconds{{stage="train", {RELEASE}}})',
                        "s",
                    ),
                ],
                ["lifecycle"],
                "One row for each lifecycle; its name leads to its own dashboard.",
                links={"lifecycle": "/d/windtunnel-lifecycle?var-lifecycle=${__value.raw}"},
            )
        )
        .with_row(Row("Over time"))
        .with_panel(
            lines(
                "Stage tries",
                [
                    (
                        f"sum by (outcome) (increase(windtunnel_stage_runs_total{{{RELEASE}}}[1h]))",
                        "{{outcome}}",
                    )
                ],
                "Tries of stages that ended in the hour before, by outcome.",
                stacked=True,
            )
        )
        .with_panel(
            lines(
                "Failures by reason",
                [
                    (
                        or_none(
                            f"sum by (reason) (increase(windtunnel_stage_failures_total{{{RELEASE}}}[1h]))",
                            "reason",
                        ),
                        "{{reason}}",
                    )
                ],
                "Failed tries in the hour before; the runbook stage-failures explains the reasons.",
                stacked=True,
            )
        )
        .with_panel(
            lines(
                "Acts",
                [
                    (
                        or_none(
                            f"sum by (action) (increase(windtunnel_ledger_entries_total{{{RELEASE}}}[1h]))",
                            "action",
                        ),
                        "{{action}}",
                    )
                ],
                "Entries of the ledgers in the hour before: promotions, refusals, rollbacks, drift, …",
                stacked=True,
            )
        )
        .with_panel(
            lines(
                "Requests",
                [
                    (
                        or_none(
                            "sum by (lifecycle) "
                            f"(rate(windtunnel_serving_requests_total{{{RELEASE}}}[$__rate_interval]))",
                            "lifecycle",
                        ),
                        "{{lifecycle}}",
                    )
                ],
                "Infer calls a second.",
                unit="reqps",
            )
        )
        .with_panel(
            lines(
                "Drifted columns",
                [
                    (
                        or_none(
                            f"max by (lifecycle) (windtunnel_model_drifted_columns{{{RELEASE}}})",
                            "lifecycle",
                        ),
                        "{{lifecycle}}",
                    )
                ],
                "Columns of the last window that differ from the reference profile.",
            )
        )
        .with_panel(
            lines(
                "CPU of stages",
                [
                    (
                        f"sum by (lifecycle) (increase(windtunnel_stage_cpu_seconds_total{{{RELEASE}}}[1h]))",
                        "{{lifecycle}}",
                    )
                ],
                "CPU seconds of the tries that ended in the hour before.",
                unit="s",
                stacked=True,
            )
        )
    )

"""The platform beneath the lifecycles: Airflow, the exporters, Prometheus."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dev.dashboards.panels import RED, RELEASE, YELLOW, lines, number, or_none, or_zero, page, states
from grafana_foundation_sdk.builders.dashboard import Row

if TYPE_CHECKING:
    from grafana_foundation_sdk.builders.dashboard import Dashboard


def _sum(metric: str, by: str = "") -> str:
    return f"sum by ({by}) ({metric}{{{RELEASE}}})" if by else f"sum({metric}{{{RELEASE}}})"


def _rate(metric: str, by: str = "") -> str:
    inner = f"rate({metric}{{{RELEASE}}}[$__rate_interval])"
    return f"sum by ({by}) ({inner})" if by else f"sum({inner})"


def _hourly(metric: str) -> str:
    return or_zero(f"sum(increase({metric}{{{RELEASE}}}[1h]))")


def _quantile(metric: str, by: str, window: str = "$__rate_interval") -> str:
    labels = f"{by}, le" if by else "le"
    return f"histogram_quantile(0.95, sum by ({labels}) (rate({metric}_bucket{{{RELEASE}}}[{window}])))"


def dashboard() -> Dashboard:
    built = page(
        "Windtunnel / Platform health",
        "platform",
        "Whether the platform itself does its work: Airflow, the exporters, Prometheus.",
        "6h",
    )
    for part in (_now, _airflow, _runs, _exporter):
        built = part(built)
    return built


def _now(built: Dashboard) -> Dashboard:
    return (
        built.with_row(Row("Now"))
        .with_panel(
            number(
                "Scheduler's heartbeats",
                _rate("airflow_scheduler_heartbeat_total"),
                "A second; it should be near 0.2.",
                steps=[(0.01, "green")],
                first=RED,
            )
        )
        .with_panel(
            number(
                "DAG files that fail",
                or_zero(f"max(airflow_dag_processing_import_errors{{{RELEASE}}})"),
                "DAG files that cannot be imported.",
                steps=[(1, RED)],
            )
        )
        .with_panel(
            number(
                "Stages that run",
                or_zero(_sum("airflow_executor_running_tasks")),
                "Tasks whose pods have been started.",
            )
        )
        .with_panel(
            number(
                "Stages that wait",
                or_zero(_sum("airflow_pool_scheduled_slots")),
                "Tasks that are due and wait for a free place.",
                steps=[(10, YELLOW)],
            )
        )
        .with_panel(
            number(
                "Free places",
                or_zero(_sum("airflow_executor_open_slots")),
                "Stage pods that may still be started (airflow.parallelism).",
                steps=[(1, "green")],
                first=YELLOW,
            )
        )
        .with_panel(
            number(
                "Exporter's picture",
                f"time() - max(windtunnel_exporter_last_refresh_timestamp_seconds{{{RELEASE}}})",
                "Age of what the exporter shows.",
                unit="s",
                steps=[(120, YELLOW), (300, RED)],
            )
        )
        .with_panel(
            number(
                "Records that wait",
                or_zero(_sum("windtunnel_exporter_waiting_records")),
                "Stage records that the exporter has yet to read.",
                steps=[(1000, YELLOW)],
            )
        )
        .with_panel(
            number(
                "Lifecycles",
                _sum("windtunnel_exporter_lifecycles"),
                "Lifecycles that the exporter follows.",
            )
        )
    )


def _airflow(built: Dashboard) -> Dashboard:
    return (
        built.with_row(Row("Airflow"))
        .with_panel(
            lines(
                "Heartbeats",
                [
                    (_rate(f"airflow_{who}_heartbeat_total"), name)
                    for who, name in (
                        ("scheduler", "scheduler"),
                        ("dag_processor", "DAG processor"),
                        ("triggerer", "triggerer"),
                    )
                ],
                "A second. The triggerer has none when it is switched off.",
            )
        )
        .with_panel(
            lines(
                "Places",
                [
                    (_sum("airflow_executor_running_tasks"), "running"),
                    (_sum("airflow_executor_queued_tasks"), "queued"),
                    (or_zero(_sum("airflow_pool_scheduled_slots")), "wanted"),
                    (_sum("airflow_executor_open_slots"), "free"),
                ],
                "Of the executor.",
            )
        )
        .with_panel(
            lines(
                "The scheduler's loop",
                [
                    (_quantile("airflow_scheduler_loop_seconds", ""), "loop"),
                    (_quantile("airflow_scheduler_critical_section_seconds", ""), "critical section"),
                ],
                "95 of 100 are shorter.",
                unit="s",
            )
        )
        .with_panel(
            lines(
                "DAG files",
                [
                    (_sum("airflow_dags"), "DAGs"),
                    (f"max(airflow_dag_processing_parse_seconds{{{RELEASE}}})", "seconds of the last look"),
                ],
                "What the DAG processor found, and how long it took.",
            )
        )
        .with_panel(
            lines(
                "Pods asked for",
                [
                    (
                        or_none(
                            "sum by (status) "
                            f"(increase(airflow_kubernetes_pod_creations_total{{{RELEASE}}}[1h]))",
                            "status",
                        ),
                        "{{status}}",
                    )
                ],
                "Stage pods of the hour before, by the Kubernetes API's answer.",
                stacked=True,
            )
        )
        .with_panel(
            lines(
                "Lost tasks",
                [
                    (_hourly("airflow_task_instances_without_heartbeats_killed_total"), "not heard of"),
                    (_hourly("airflow_scheduler_tasks_killed_externally_total"), "ended by others"),
                    (_hourly("airflow_scheduler_orphaned_tasks_cleared_total"), "orphaned, reset"),
                ],
                "Of the hour before.",
                stacked=True,
            )
        )
    )


def _runs(built: Dashboard) -> Dashboard:
    return (
        built.with_row(Row("Runs"))
        .with_panel(
            lines(
                "Duration of runs",
                [(_quantile("airflow_dagrun_seconds", "state", "1h"), "{{state}}")],
                "95 of 100 DAG runs of the hour before are shorter.",
                unit="s",
            )
        )
        .with_panel(
            lines(
                "Time until queued",
                [(_quantile("airflow_task_scheduled_seconds", "", "1h"), "a task")],
                "How long tasks that were ready waited for a place, on their first try.",
                unit="s",
            )
        )
        .with_panel(
            lines(
                "Runs",
                [
                    (f"sum(airflow_scheduler_dagruns_running{{{RELEASE}}})", "running now"),
                    (_hourly("airflow_asset_triggered_dagruns_total"), "started by an asset, hourly"),
                ],
                "DAG runs.",
            )
        )
    )


def _exporter(built: Dashboard) -> Dashboard:
    return (
        built.with_row(Row("Metrics"))
        .with_panel(
            states(
                "Scrapes",
                f"max by (component, pod) (up{{{RELEASE}}})",
                "{{component}} {{pod}}",
                "Whether each pod that counts answers its scrapes.",
            )
        )
        .with_panel(
            lines(
                "Scrape duration",
                [(f"max by (component) (scrape_duration_seconds{{{RELEASE}}})", "{{component}}")],
                "The slowest pod of each component.",
                unit="s",
            )
        )
        .with_panel(
            lines(
                "The exporter's look at the records",
                [
                    (f"max(windtunnel_exporter_refresh_seconds{{{RELEASE}}})", "seconds"),
                    (_rate("windtunnel_exporter_read_failures_total"), "failed reads a second"),
                ],
                "Each refresh reads only what is new.",
            )
        )
        .with_panel(
            lines(
                "Prometheus",
                [("sum(prometheus_tsdb_head_series)", "series")],
                "Series that Prometheus holds.",
                span=12,
            )
        )
        .with_panel(
            lines(
                "Samples",
                [
                    (f"sum by (component) (scrape_samples_scraped{{{RELEASE}}})", "{{component}}"),
                ],
                "Samples of one scrape, by component: what the cardinality bounds hold down.",
                span=12,
            )
        )
    )

"""The serving pods: what callers get, how a challenger does, what is kept of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dev.dashboards.panels import HERE, RED, lines, number, or_none, or_zero, page, states
from grafana_foundation_sdk.builders.dashboard import Row

if TYPE_CHECKING:
    from grafana_foundation_sdk.builders.dashboard import Dashboard

_REQUESTS = f"windtunnel_serving_requests_total{{{HERE}}}"
_PODS = f'component="serving", {HERE}'


def _rate(metric: str, by: str, selector: str = HERE) -> str:
    return f"sum by ({by}) (rate({metric}{{{selector}}}[$__rate_interval]))"


def _quantile(share: float, metric: str, by: str = "lifecycle") -> str:
    return f"histogram_quantile({share}, {_rate(f'{metric}_bucket', f'{by}, le')})"


def dashboard() -> Dashboard:
    built = page(
        "Windtunnel / Serving",
        "serving",
        "What callers of the served models get, from requests to the prediction log.",
        "6h",
        lifecycles="many",
    )
    for part in (_now, _requests, _predictions, _challenger, _pods, _log):
        built = part(built)
    return built


def _now(built: Dashboard) -> Dashboard:
    failing = f'sum(rate(windtunnel_serving_requests_total{{code=~"5..", {HERE}}}[$__rate_interval]))'
    return (
        built.with_row(Row("Now"))
        .with_panel(
            number(
                "Requests",
                f"sum(rate({_REQUESTS}[$__rate_interval]))",
                "Infer calls a second.",
                unit="reqps",
            )
        )
        .with_panel(
            number(
                "Errors",
                f"({failing} or vector(0)) / (sum(rate({_REQUESTS}[$__rate_interval])) > 0) or vector(0)",
                "Share of the infer calls that is answered with 5xx.",
                unit="percentunit",
                steps=[(0.001, "yellow"), (0.01, RED)],
            )
        )
        .with_panel(
            number(
                "99 of 100 within",
                f"histogram_quantile(0.99, {_rate('windtunnel_serving_request_seconds_bucket', 'le')})",
                "Time of an infer call, from its head to its answer.",
                unit="s",
            )
        )
        .with_panel(
            number(
                "Pods",
                or_zero(f"count(up{{{_PODS}}} == 1)"),
                "Serving pods that answer their scrapes.",
                steps=[(1, "green")],
                first=RED,
            )
        )
        .with_panel(
            number(
                "Champions",
                or_zero(
                    "count(count by (lifecycle, version) "
                    f'(windtunnel_serving_model_info{{role="champion", {HERE}}}))'
                ),
                "Versions that serve as champion: one for each lifecycle, but for the moment of a swap.",
            )
        )
        .with_panel(
            number(
                "Deaf pods",
                or_zero(f"count(windtunnel_serving_watch_connected{{{HERE}}} == 0)"),
                "Pods that do not hear of promotions and rollbacks.",
                steps=[(1, RED)],
            )
        )
        .with_panel(
            number(
                "Log rows lost",
                or_zero(f"sum(increase(windtunnel_serving_log_drops_total{{{HERE}}}[$__range]))"),
                "Predictions of the time shown that are missing from the log.",
                steps=[(1, RED)],
            )
        )
        .with_panel(
            number(
                "Loads that failed",
                or_zero(f'sum(increase(windtunnel_serving_loads_total{{outcome!="ok", {HERE}}}[$__range]))'),
                "Bundles that could not be loaded.",
                steps=[(1, RED)],
            )
        )
    )


def _requests(built: Dashboard) -> Dashboard:
    return (
        built.with_row(Row("Requests"))
        .with_panel(
            lines(
                "Requests by version",
                [
                    (
                        _rate("windtunnel_serving_requests_total", "lifecycle, version, role"),
                        "{{lifecycle}} {{version}} {{role}}",
                    )
                ],
                "Infer calls a second; the role fallback is the champion's answer in the challenger's place.",
                unit="reqps",
                stacked=True,
            )
        )
        .with_panel(
            lines(
                "Answers by status",
                [(_rate("windtunnel_serving_requests_total", "lifecycle, code"), "{{lifecycle}} {{code}}")],
                "400 is the caller's mistake, 5xx ours.",
                unit="reqps",
                stacked=True,
            )
        )
        .with_panel(
            lines(
                "Time of a call",
                [
                    (_quantile(share, "windtunnel_serving_request_seconds"), f"{{{{lifecycle}}}} {name}")
                    for share, name in ((0.5, "half"), (0.95, "95 of 100"), (0.99, "99 of 100"))
                ],
                "From an infer call's head to its answer.",
                unit="s",
            )
        )
        .with_panel(
            lines(
                "Rows",
                [(_rate("windtunnel_serving_rows_total", "lifecycle, version"), "{{lifecycle}} {{version}}")],
                "Rows answered a second; a request may hold many.",
            )
        )
        .with_panel(
            lines(
                "Missing features",
                [
                    (
                        or_none(_rate("windtunnel_serving_missing_features_total", "lifecycle"), "lifecycle"),
                        "{{lifecycle}}",
                    )
                ],
                "Feature values a second that the online store did not have.",
            )
        )
        .with_panel(
            lines(
                "Reads of the online store",
                [
                    (
                        or_none(_quantile(0.99, "windtunnel_serving_online_read_seconds"), "lifecycle"),
                        "{{lifecycle}} 99 of 100",
                    )
                ],
                "Time of one read.",
                unit="s",
            )
        )
    )


def _predictions(built: Dashboard) -> Dashboard:
    return built.with_row(Row("Predictions")).with_panel(
        lines(
            "Predictions",
            [
                (
                    _quantile(share, "windtunnel_serving_predictions", "lifecycle, version"),
                    f"{{{{lifecycle}}}} {{{{version}}}} {name}",
                )
                for share, name in ((0.1, "lowest tenth"), (0.5, "median"), (0.9, "highest tenth"))
            ],
            "Probabilities or values that were answered: a shift shows before any label comes.",
            span=24,
        )
    )


def _challenger(built: Dashboard) -> Dashboard:
    return (
        built.with_row(Row("Challenger"))
        .with_panel(
            states(
                "State",
                or_none(
                    f"max by (lifecycle, version, state) (windtunnel_serving_challenger_state{{{HERE}}})",
                    "state",
                ),
                "{{lifecycle}} {{version}} {{state}}",
                "Of the challenger's process in any pod.",
            )
        )
        .with_panel(
            lines(
                "Given to it",
                [
                    (
                        or_none(
                            _rate("windtunnel_serving_challenger_requests_total", "lifecycle, mode"), "mode"
                        ),
                        "{{lifecycle}} {{mode}}",
                    ),
                    (
                        or_none(_rate("windtunnel_serving_shadow_drops_total", "lifecycle"), "lifecycle"),
                        "{{lifecycle}} copies not scored",
                    ),
                ],
                "Requests a second that it answers (routed) or scores for the record (shadow).",
                unit="reqps",
            )
        )
        .with_panel(
            lines(
                "Its faults",
                [
                    (
                        or_none(
                            _rate("windtunnel_serving_challenger_faults_total", "lifecycle, reason"), "reason"
                        ),
                        "{{lifecycle}} {{reason}}",
                    )
                ],
                "Calls a second that it did not answer as it should; the champion answered them.",
                stacked=True,
            )
        )
    )


def _pods(built: Dashboard) -> Dashboard:
    return (
        built.with_row(Row("Pods"))
        .with_panel(
            lines(
                "Memory",
                [(f"max by (pod) (process_resident_memory_bytes{{{_PODS}}})", "{{pod}}")],
                "Of the serving process; a challenger's process and the log's writer have their own.",
                unit="bytes",
            )
        )
        .with_panel(
            lines(
                "CPU",
                [(_rate("process_cpu_seconds_total", "pod", _PODS), "{{pod}}")],
                "Cores that the serving process takes.",
            )
        )
        .with_panel(
            lines(
                "Loads",
                [
                    (
                        f"sum by (lifecycle, outcome) (windtunnel_serving_loads_total{{{HERE}}})",
                        "{{lifecycle}} {{outcome}}",
                    )
                ],
                "Bundles loaded since the pods started, by outcome.",
            )
        )
    )


def _log(built: Dashboard) -> Dashboard:
    return (
        built.with_row(Row("Prediction log"))
        .with_panel(
            lines(
                "Rows stored",
                [(_rate("windtunnel_serving_log_rows_total", "lifecycle"), "{{lifecycle}}")],
                "Rows a second that reached the object store.",
            )
        )
        .with_panel(
            lines(
                "Waiting",
                [
                    (
                        f"sum by (lifecycle) (windtunnel_serving_log_buffered_bytes{{{HERE}}})",
                        "{{lifecycle}}",
                    )
                ],
                "Bytes in memory that are not stored yet.",
                unit="bytes",
            )
        )
        .with_panel(
            lines(
                "Lost and failed",
                [
                    (_rate("windtunnel_serving_log_drops_total", "lifecycle, reason"), "rows: {{reason}}"),
                    (_rate("windtunnel_serving_log_store_failures_total", "lifecycle"), "puts that failed"),
                    (_rate("windtunnel_serving_log_writer_restarts_total", "lifecycle"), "writer restarts"),
                ],
                "A second; all should be zero.",
            )
        )
    )

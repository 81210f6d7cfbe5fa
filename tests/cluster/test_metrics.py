"""What the release's own Prometheus knows, after the closed loop: every pod, every query, every alert."""

from __future__ import annotations

import math
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from dev.dashboards.queries import Query, queries
from dev.demo.ask import ask
from dev.demo.thread import asked_at
from tests.cluster.closed_loop import RECOVERED
from tests.cluster.release import LIFECYCLE, NAMESPACE, RELEASE
from tests.cluster.served import Served

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cluster.closed_loop import Loop
    from tests.cluster.sweeping import Sweeps

SCRAPED = {"exporter", "statsd-exporter", "serving"}
QUERIES = queries(NAMESPACE, LIFECYCLE)
SETTLED_SECONDS = 180.0
"""The exporter looks twice a minute, a scrape comes four times, and a rate takes two of them."""


class Prometheus:
    """The release's, by its HTTP API."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def get(self, path: str, **params: str) -> Any:
        answer = self._client.get(f"/api/v1/{path}", params=params).json()
        assert answer["status"] == "success", answer
        return answer["data"]

    def ask(self, expr: str) -> list[dict[str, Any]]:
        """Series with their value now."""
        result: list[dict[str, Any]] = self.get("query", query=expr)["result"]
        return result

    def value(self, expr: str) -> float:
        (series,) = self.ask(expr)
        return float(series["value"][1])


@pytest.fixture(scope="module")
def prometheus(sweeps: Sweeps, loop: Loop) -> Iterator[Prometheus]:
    """When everything was scraped since story and sweep ended, and requests came in meanwhile."""
    with forwarded(loop, "prometheus", 9090) as client:
        found = Prometheus(client)
        settle(loop, found)
        yield found


@contextmanager
def forwarded(loop: Loop, component: str, port: int) -> Iterator[httpx.Client]:
    kubectl = loop.platform.kubectl
    with (
        kubectl.port_forward(NAMESPACE, f"svc/{RELEASE}-{component}", port) as local,
        httpx.Client(base_url=f"http://127.0.0.1:{local}", timeout=30) as client,
    ):
        yield client


def settle(loop: Loop, prometheus: Prometheus) -> None:
    """Ask the model until the newest measure was scraped and no query is without data, or time is up: each
    test then says what is missing.
    """
    deadline = time.monotonic() + SETTLED_SECONDS
    rows = str(loop.recovered[-1].measure.window.rows)
    newest = f'windtunnel_monitor_window_rows{{lifecycle="{LIFECYCLE}"}} == {rows}'
    while time.monotonic() < deadline:
        ask(loop.platform, LIFECYCLE, asked_at(RECOVERED[-1][1]))
        if prometheus.ask(newest) and not any(without_data(prometheus, QUERIES)):
            return
        time.sleep(10)


def without_data(prometheus: Prometheus, asked: list[Query]) -> Iterator[Query]:
    return (query for query in asked if not prometheus.ask(query.expr))


def test_every_part_is_scraped(prometheus: Prometheus) -> None:
    targets = prometheus.get("targets", state="active")["activeTargets"]
    down = [(one["labels"], one["lastError"]) for one in targets if one["health"] != "up"]
    assert not down
    assert {one["labels"].get("component") for one in targets} >= SCRAPED


@pytest.mark.parametrize("dashboard", sorted({query.dashboard for query in QUERIES}))
def test_every_query_of_the_dashboard_returns_data(prometheus: Prometheus, dashboard: str) -> None:
    asked = [query for query in QUERIES if query.dashboard == dashboard]
    assert list(without_data(prometheus, asked)) == []


def test_the_metrics_are_those_of_the_newest_measure(loop: Loop, prometheus: Prometheus) -> None:
    measure = loop.recovered[-1].measure
    assert measure.quality
    assert measure.drift
    of = f'{{lifecycle="{LIFECYCLE}"}}'
    assert prometheus.value(f"windtunnel_monitor_window_rows{of}") == measure.window.rows
    assert prometheus.value(f"windtunnel_model_drifted_columns{of}") == len(measure.drift.drifted)
    assert math.isclose(prometheus.value(f"windtunnel_model_loss{of}"), measure.quality.loss, rel_tol=1e-6)
    (info,) = prometheus.ask(f'windtunnel_model_info{{lifecycle="{LIFECYCLE}", role="champion"}}')
    champion = Served(loop.platform.kubectl, LIFECYCLE).spec["champion"]["version"]
    assert info["metric"]["version"] == champion


def test_the_story_is_counted(prometheus: Prometheus) -> None:
    of = f'lifecycle="{LIFECYCLE}"'
    for action in ("drift", "retraining", "retrained", "promotion", "recovered"):
        assert prometheus.value(f'windtunnel_ledger_entries_total{{{of}, action="{action}"}}') >= 1, action
    assert prometheus.value(f'windtunnel_stage_runs_total{{{of}, stage="monitor", outcome="success"}}') >= 4


@pytest.mark.parametrize(("component", "port"), [("exporter", 9108), ("statsd-exporter", 9102)])
def test_promtool_finds_nothing_to_say_about_names_units_and_help(
    loop: Loop, component: str, port: int
) -> None:
    with forwarded(loop, component, port) as client:
        page = client.get("/metrics").text
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=page, capture_output=True, text=True, check=False
    )
    ours = [line for line in done.stderr.splitlines() if line.startswith(("windtunnel_", "airflow_"))]
    assert ours == []
    assert page.count("\n# HELP windtunnel_" if component == "exporter" else "\n# HELP airflow_") > 10


def test_every_alert_is_judged_without_an_error(prometheus: Prometheus) -> None:
    groups = prometheus.get("rules")["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len(rules) > 10
    assert [(rule["name"], rule["lastError"]) for rule in rules if rule["health"] != "ok"] == []

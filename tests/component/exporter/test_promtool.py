"""What the exporters show, judged by Prometheus' own tool."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from promtool import lint
from recorded import measure, put_record, served_model, stage_record, view_state
from s3_server import s3_server

from windtunnel.exporter.metrics import METRICS
from windtunnel.exporter.refresher import Refresher
from windtunnel.features.freshness import write_freshness
from windtunnel.ledger import Ledger
from windtunnel.monitoring.measures import write_measure
from windtunnel.objects import open_store
from windtunnel.spec.failures import Reason
from windtunnel.spec.servedmodel import ServedModel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from windtunnel.objects import ObjectStore


@pytest.fixture
def store() -> Iterator[ObjectStore]:
    """Over S3, as in a cluster."""
    with s3_server() as server:
        yield open_store("s3://windtunnel", server.environment)


@pytest.fixture
def page(store: ObjectStore) -> bytes:
    """With every metric on it, of two looks."""
    for number in range(3):
        record = stage_record(run_id=f"scheduled__{number}", price=1.0)
        put_record(store, "shop", record)
    put_record(store, "shop", stage_record(try_number=2, reason=Reason.EVICTED))
    put_record(store, "shop", stage_record("extract", facts={"rejected": {"orders": 1}}))
    amounts = {"cache": {"objects": 1, "bytes": 1}}
    put_record(store, "shop", stage_record("retain", facts={"kept": amounts, "swept": amounts}))
    Ledger(store, "shop").append({"action": "promotion"})
    write_measure(store, measure())
    write_freshness(store, "shop", view_state())
    rollout = {"runId": "r", "phase": "Canary", "since": "2026-03-02T12:00:00Z"}
    conditions = [
        {"type": "Available", "status": "True", "reason": "R", "lastTransitionTime": "2026-03-02T12:00:00Z"}
    ]
    model = ServedModel.model_validate(
        {
            "apiVersion": "windtunnel.dev/v1alpha1",
            "kind": "ServedModel",
            **served_model(challenger="4", traffic=5, rollout=rollout),
            "status": {"phase": "Ready", "ready": "1/1", "conditions": conditions},
        }
    )
    # The moment at which the server of the test says that everything was written.
    refresher = Refresher(store, lambda _: {"shop": model}, now=lambda: datetime(2026, 1, 1, tzinfo=UTC))
    refresher.refresh()
    put_record(store, "shop", stage_record("score"))
    refresher.refresh()
    return refresher.page.plain


def test_every_metric_is_there_and_promtool_finds_nothing(page: bytes) -> None:
    shown = {line.split()[2] for line in page.decode().splitlines() if line.startswith("# TYPE")}
    assert METRICS.keys() <= shown
    assert b'windtunnel_stage_runs_total{lifecycle="shop",stage="score",outcome="success"} 1.0' in page
    assert not re.search(rb"read_failures_total.* [1-9]", page)
    assert lint(page) == ""


def test_promtool_would_find_something() -> None:
    assert "counter metrics should" in lint(b"# HELP a b\n# TYPE a counter\na 1\n")

"""What the exporters show, judged by Prometheus' own tool."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from promtool import lint
from recorded import measure, put_record, served_model, stage_record, view_state

from windtunnel.exporter.metrics import METRICS
from windtunnel.exporter.refresher import Refresher
from windtunnel.features.freshness import write_freshness
from windtunnel.ledger import Ledger
from windtunnel.monitoring.measures import write_measure
from windtunnel.spec.failures import Reason
from windtunnel.spec.servedmodel import ServedModel

if TYPE_CHECKING:
    from windtunnel.objects import ObjectStore


@pytest.fixture
def page(store: ObjectStore) -> bytes:
    """With every metric on it."""
    for number in range(3):
        record = stage_record(run_id=f"scheduled__{number}", price=1.0)
        put_record(store, "shop", record)
    put_record(store, "shop", stage_record(try_number=2, reason=Reason.EVICTED))
    put_record(store, "shop", stage_record("extract", facts={"rejected": {"orders": 1}}))
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
    refresher = Refresher(store, lambda _: {"shop": model})
    refresher.refresh()
    return refresher.page.plain


def test_every_metric_is_there_and_promtool_finds_nothing(page: bytes) -> None:
    shown = {line.split()[2] for line in page.decode().splitlines() if line.startswith("# TYPE")}
    assert METRICS.keys() <= shown
    assert lint(page) == ""


def test_promtool_would_find_something() -> None:
    assert "counter metrics should" in lint(b"# HELP a b\n# TYPE a counter\na 1\n")

"""Records, ledgers, measures and states of views as the platform writes them."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from windtunnel.features.freshness import ViewFreshness
from windtunnel.monitoring.measures import (
    Answers,
    Concept,
    Drift,
    Estimated,
    Finding,
    Labels,
    Measure,
    Policy,
    Quality,
    Skew,
    SliceQuality,
    Window,
)  # fmt: skip
from windtunnel.records import Measured, StageRecord, write_record
from windtunnel.spec.stages import StageResult

if TYPE_CHECKING:
    from windtunnel.objects import ObjectStore
    from windtunnel.spec.failures import Reason

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
DIGEST = "sha256:" + "0" * 64
RUN = "scheduled__2026-03-02T12:00:00+00:00"


def stage_record(
    stage: str = "train",
    run_id: str = RUN,
    *,
    try_number: int = 1,
    at: datetime = NOON,
    seconds: float = 60.0,
    memory: int = 1 << 20,
    reason: Reason | None = None,
    price: float | None = None,
    facts: dict[str, Any] | None = None,
    map_index: int | None = None,
    cached: bool = False,
    view: str = "",
) -> StageRecord:
    """One try; it failed when there is a reason."""
    return StageRecord(
        stage=stage,
        run_id=run_id,
        try_number=try_number,
        map_index=map_index,
        started=at,
        ended=at + timedelta(seconds=seconds),
        usage=Measured(seconds=seconds, cpu_seconds=seconds / 2, max_memory_bytes=memory),
        result=None if reason else StageResult(facts=facts or {}, cached=cached),
        error="it broke" if reason else "",
        pod="pod-1",
        spec_digest=DIGEST,
        code_version="v1",
        view=view,
        reason=reason,
        stage_class="small",
        price_per_hour=price,
    )


def put_record(store: ObjectStore, lifecycle: str, record: StageRecord) -> str:
    """Write it; its key."""
    write_record(store, lifecycle, record, logging.getLogger("test"))
    return record.key(lifecycle)


def view_state(view: str = "customer", **changes: Any) -> ViewFreshness:
    state: dict[str, Any] = {
        "view": view,
        "newest_event": NOON,
        "end": "2026-03-02",
        "rows": 120,
        "bytes": 4096,
        "seconds": 2.5,
        "objective_seconds": 93_600.0,
        "published": NOON + timedelta(minutes=3),
    }
    return ViewFreshness(**{**state, **changes})


def column(name: str, psi: float = 0.4) -> dict[str, Any]:
    return {
        "column": name,
        "kind": "number",
        "psi": psi,
        "jensen_shannon": 0.1,
        "ks": 0.2,
        "wasserstein": None,
    }


def measure(lifecycle: str = "shop", *, end: datetime = NOON, columns: int = 2, **changes: Any) -> Measure:
    """A whole one."""
    content: dict[str, Any] = {
        "lifecycle": lifecycle,
        "version": "3",
        "bundle": DIGEST,
        "run_id": RUN,
        "made": end + timedelta(minutes=5),
        "window": Window(end - timedelta(days=1), end, 4000, 1.0, True),
        "reference": DIGEST,
        "answers": Answers({"champion": 4000}, 0.01, None),
        "drift": Drift(
            columns=tuple(column(f"column_{n}") for n in range(columns)),
            prediction=column("prediction", 0.05),
            label=None,
            drifted=("column_0",),
        ),
        "labels": Labels("2026-03-01", due=4000, missing=1000, late=800),
        "quality": Quality(
            labelled=3000, coverage=0.9, metric="log_loss", loss=0.7, reference_loss=0.6, difference=0.1,
            interval=(0.05, 0.15), worse=True, metrics={},
        ),
        "estimated": Estimated("log_loss", 0.65, (0.6, 0.7), 0.6, False, 4000),
        "concept": Concept(True, end, 3000, 0.001),
        "skew": Skew(200, 1000, 10, 0.01, ()),
        "slices": (SliceQuality("country", "NL", 100, 90, 0.9, 0.6, (0.1, 0.5), True),),
        "findings": (
            Finding("drift", "warning", "column_0 drifted"),
            Finding("quality", "critical", "the loss is worse"),
            Finding("drift", "warning", "column_1 drifted"),
        ),
        "policy": Policy("watching", 1, False, "once", None, 1),
    }  # fmt: skip
    return Measure(**{**content, **changes})


def served_model(lifecycle: str = "shop", **spec: Any) -> dict[str, Any]:
    """A ServedModel as the API server gives it."""

    def version(name: str) -> dict[str, str]:
        return {"version": name, "bundle": f"s3://w/{lifecycle}/bundles/{name}", "digest": DIGEST}

    named = {
        key: version(value) if key in {"champion", "challenger", "previous"} else value
        for key, value in spec.items()
    }
    return {
        "metadata": {"name": lifecycle.replace("_", "-")},
        "spec": {"lifecycle": lifecycle, "champion": version("3"), **named},
    }

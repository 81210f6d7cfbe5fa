"""What infer calls are told as, beside prometheus_client's own metrics of the same."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from windtunnel.serving.call_metrics import CallMetrics

BOUNDS = (0.001, 0.5, 2.0)
SECONDS = (0.0004, 0.001, 0.0011, 0.5, 1.9, 7.0)


def told(registry: CollectorRegistry) -> list[str]:
    return sorted(line for line in generate_latest(registry).decode().splitlines() if "_created" not in line)


def test_calls_are_told_as_prometheus_client_would() -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    calls = CallMetrics(BOUNDS)
    ours.register(calls)
    name, version = "windtunnel_serving_", ("model", "version")
    requests = Counter(
        f"{name}requests",
        "Infer calls answered, by HTTP status code and role (fallback: champion for challenger).",
        (*version, "role", "code"),
        registry=theirs,
    )
    seconds = Histogram(
        f"{name}request_seconds",
        "Time from an infer call's head to its answer.",
        (*version, "role"),
        buckets=BOUNDS,
        registry=theirs,
    )
    rows = Counter(f"{name}rows", "Rows answered.", version, registry=theirs)
    missing = Counter(
        f"{name}missing_features",
        "Feature values that were missing in answered rows.",
        version,
        registry=theirs,
    )
    for role in ("champion", "fallback"):
        for status, took in zip((200, 200, 400, 200, 503, 200), SECONDS, strict=True):
            calls.of("demo", "7", role).answered(status, took)
            requests.labels("demo", "7", role, str(status)).inc()
            seconds.labels("demo", "7", role).observe(took)
        calls.of("demo", "7", role).rows(3, 2)
        rows.labels("demo", "7").inc(3)
        missing.labels("demo", "7").inc(2)
    assert told(ours) == told(theirs)


def test_a_version_that_comes_again_begins_at_zero() -> None:
    calls = CallMetrics(BOUNDS)
    calls.of("demo", "7", "champion").answered(200, 0.1)
    calls.of("demo", "8", "champion").answered(200, 0.1)
    calls.forget("demo", "7")
    assert calls.counted() == {("demo", "8")}
    assert calls.of("demo", "7", "champion").by_status == {}

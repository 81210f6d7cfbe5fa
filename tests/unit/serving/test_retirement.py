"""What was counted of former versions goes, late; what is in use stays."""

from __future__ import annotations

import asyncio

from windtunnel.serving.metrics import Metrics
from windtunnel.serving.retirement import KEPT_SECONDS, Retirement


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def count(metrics: Metrics, version: str) -> None:
    of = metrics.of("demo", version, "champion")
    of.rows(3, 1)
    of.answered(200, 0.01)
    metrics.of("demo", version, "fallback").answered(200, 0.01)
    metrics.predict_seconds.labels("demo", version, "champion").observe(0.01)
    metrics.predictions.of("demo", version, "champion", (0.5,)).observe([0.1])


def text(metrics: Metrics) -> str:
    return asyncio.run(metrics.text()).decode()


def test_series_of_former_versions_go_after_a_while() -> None:
    metrics, clock = Metrics(), Clock()
    retirement = Retirement(metrics, clock)
    for version in ("1", "2", "3"):
        count(metrics, version)
    metrics.of("", "", "champion").answered(404, 0.001)
    retirement.look({"2", "3"})
    clock.now = KEPT_SECONDS - 1
    retirement.look({"2"})
    assert 'version="1"' in text(metrics)
    clock.now = KEPT_SECONDS
    retirement.look({"2"})
    left = text(metrics)
    assert 'version="1"' not in left
    assert all(f'version="{version}"' in left for version in ("", "2", "3"))
    assert metrics.counted() == {("demo", "2"), ("demo", "3"), ("", "")}


def test_a_challenger_that_only_scored_copies_goes_as_well() -> None:
    metrics, clock = Metrics(), Clock()
    retirement = Retirement(metrics, clock)
    metrics.predict_seconds.labels("demo", "2", "challenger").observe(0.01)
    metrics.predictions.of("demo", "2", "shadow", (0.5,)).observe([0.1])
    retirement.look({"1"})
    clock.now = KEPT_SECONDS
    retirement.look({"1"})
    assert 'version="2"' not in text(metrics)


def test_one_that_comes_back_in_time_stays() -> None:
    metrics, clock = Metrics(), Clock()
    retirement = Retirement(metrics, clock)
    count(metrics, "1")
    retirement.look({"2"})
    clock.now = KEPT_SECONDS / 2
    retirement.look({"1"})
    clock.now = KEPT_SECONDS + 1
    retirement.look({"2"})
    assert 'version="1"' in text(metrics)


def test_one_that_comes_back_later_begins_at_zero() -> None:
    metrics, clock = Metrics(), Clock()
    retirement = Retirement(metrics, clock)
    count(metrics, "1")
    retirement.look(())
    clock.now = KEPT_SECONDS
    retirement.look(())
    count(metrics, "1")
    assert 'windtunnel_serving_rows_total{model="demo",version="1"} 3.0' in text(metrics)

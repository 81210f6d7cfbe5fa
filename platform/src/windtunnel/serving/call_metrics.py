"""Counts infer calls, as one metric of plain numbers.

prometheus_client's counters take a lock and check their labels each time, several times a call; all calls are
counted on the event loop, where neither is needed.
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate
from typing import TYPE_CHECKING, Final

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily

from windtunnel.serving.version_collector import VersionCollector

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from prometheus_client import Metric

_PREFIX: Final = "windtunnel_serving_"
_VERSION: Final = ("model", "version")


class VersionCalls:
    """The calls of one version in one role."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self.by_status: dict[int, int] = {}
        self.buckets = [0] * (len(bounds) + 1)
        """Calls by their seconds: up to each bound, and above the last."""
        self.seconds = 0.0
        self.answered_rows = 0
        self.missing = 0

    def rows(self, rows: int, missing: int) -> None:
        """Count answered rows, and the feature values that were missing in them."""
        self.answered_rows += rows
        self.missing += missing

    def answered(self, status: int, seconds: float) -> None:
        """Count a call by its HTTP status, whatever it is."""
        self.by_status[status] = self.by_status.get(status, 0) + 1
        self.buckets[bisect_left(self._bounds, seconds)] += 1
        self.seconds += seconds


class CallMetrics(VersionCollector[VersionCalls]):
    """All of them; `bounds` are those of the seconds' buckets, ascending, without infinity."""

    def __init__(self, bounds: Sequence[float]) -> None:
        super().__init__()
        self._bounds = bounds

    def of(self, model: str, version: str, role: str) -> VersionCalls:
        """The series of these labels. `version` is empty before one is loaded."""
        known = self._series.get((model, version, role))
        if known is None:
            known = self._series[model, version, role] = VersionCalls(self._bounds)
        return known

    def collect(self) -> Iterable[Metric]:
        """For the registry."""
        requests = CounterMetricFamily(
            f"{_PREFIX}requests",
            "Infer calls answered, by HTTP status code and role (fallback: champion for challenger).",
            labels=(*_VERSION, "role", "code"),
        )
        seconds = HistogramMetricFamily(
            f"{_PREFIX}request_seconds",
            "Time from an infer call's head to its answer.",
            labels=(*_VERSION, "role"),
        )
        rows = CounterMetricFamily(f"{_PREFIX}rows", "Rows answered.", labels=_VERSION)
        missing = CounterMetricFamily(
            f"{_PREFIX}missing_features",
            "Feature values that were missing in answered rows.",
            labels=_VERSION,
        )
        bounds = [*map(repr, self._bounds), "+Inf"]
        totals: dict[tuple[str, str], tuple[int, int]] = {}
        for labels, calls in self._series.items():
            for status, count in calls.by_status.items():
                requests.add_metric((*labels, str(status)), count)
            buckets = list(zip(bounds, map(float, accumulate(calls.buckets)), strict=True))
            seconds.add_metric(labels, buckets, calls.seconds)
            so_far = totals.get(labels[:2], (0, 0))
            totals[labels[:2]] = (so_far[0] + calls.answered_rows, so_far[1] + calls.missing)
        for version, (answered, lacking) in totals.items():
            rows.add_metric(version, answered)
            missing.add_metric(version, lacking)
        return requests, seconds, rows, missing

"""Counts what models answer, so that a shift of their predictions is seen before any label comes.

Unlike prometheus_client's, this histogram has buckets of each version's own: a probability has fixed ones,
a value those of the golden answers. Versions that stand side by side are counted in the same buckets.
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from prometheus_client.core import HistogramMetricFamily

from windtunnel.serving.version_collector import VersionCollector

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from windtunnel.serving.model import FloatArray

_BUCKETS: Final = 20
_ONE_BY_ONE: Final = 16
"""Answers in a request from which on numpy counts faster."""


def prediction_edges(output: str, golden: FloatArray) -> tuple[float, ...]:
    """Upper bounds of the buckets but the last (infinity), ascending."""
    if output == "probability":
        return tuple(round(step / _BUCKETS, 2) for step in range(1, _BUCKETS + 1))
    shares = np.arange(1, _BUCKETS) / _BUCKETS
    return tuple(np.unique(np.quantile(golden, shares)).tolist()) if len(golden) else (0.0,)


class PredictionHistogram:
    """The answers of one version in one role."""

    def __init__(self, edges: tuple[float, ...]) -> None:
        self.edges = edges
        self._counts = [0] * (len(edges) + 1)
        self._sum = 0.0

    def observe(self, answers: Sequence[float]) -> None:
        """Count finite answers."""
        self._sum += sum(answers)
        counts = self._counts
        if len(answers) <= _ONE_BY_ONE:
            for answer in answers:
                counts[bisect_left(self.edges, answer)] += 1
            return
        found = np.bincount(np.searchsorted(self.edges, answers), minlength=len(counts))
        self._counts = [count + int(more) for count, more in zip(counts, found, strict=True)]

    def cumulated(self) -> tuple[list[tuple[str, float]], float]:
        """(upper bound, answers up to it) for each bucket; the sum of all."""
        bounds = [*(repr(edge) for edge in self.edges), "+Inf"]
        return list(zip(bounds, map(float, accumulate(self._counts)), strict=True)), self._sum


class PredictionHistograms(VersionCollector[PredictionHistogram]):
    """All of them, as one metric."""

    def of(self, model: str, version: str, role: str, edges: tuple[float, ...]) -> PredictionHistogram:
        """The series of these labels; begun anew when its edges are others than before."""
        known = self._series.get((model, version, role))
        if known is None or (known.edges is not edges and known.edges != edges):
            known = self._series[model, version, role] = PredictionHistogram(edges)
        return known

    def collect(self) -> Iterable[Any]:
        """For the registry."""
        family = HistogramMetricFamily(
            "windtunnel_serving_predictions",
            "What was answered: probabilities or values.",
            labels=("model", "version", "role"),
        )
        for labels, series in self._series.items():
            buckets, total = series.cumulated()
            family.add_metric(labels, buckets, total)
        yield family

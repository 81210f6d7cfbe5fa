"""Counting what models answer."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from windtunnel.serving.predictions import PredictionHistogram, PredictionHistograms, prediction_edges


def test_probabilities_have_twenty_buckets_from_0_to_1() -> None:
    edges = prediction_edges("probability", np.array([0.5]))
    assert len(edges) == 20
    assert (edges[0], edges[-1]) == (0.05, 1.0)


def test_values_have_the_golden_answers_quantiles() -> None:
    edges = prediction_edges("value", np.arange(101.0))
    assert edges == pytest.approx(np.arange(5.0, 100.0, 5.0))


@pytest.mark.parametrize("golden", [[], [3.0], [3.0, 3.0, 3.0], [-1e300, 1e300]])
def test_any_golden_answers_give_ascending_buckets(golden: list[float]) -> None:
    edges = prediction_edges("value", np.array(golden))
    assert edges
    assert all(low < high for low, high in pairwise(edges))


@given(st.lists(st.floats(-2, 2), max_size=60))
def test_it_counts_as_prometheus_says(values: list[float]) -> None:
    edges = (-1.0, 0.0, 0.5, 1.0)
    histogram = PredictionHistogram(edges)
    histogram.observe(values)
    histogram.observe(values)
    buckets, total = histogram.cumulated()
    bounds = [*edges, float("inf")]
    assert [float(bound) for bound, _ in buckets] == bounds
    assert [count for _, count in buckets] == [
        2 * sum(value <= bound for value in values) for bound in bounds
    ]
    assert total == pytest.approx(2 * sum(values), abs=1e-9)


def test_series_begin_anew_with_other_buckets_only() -> None:
    registry = CollectorRegistry()
    histograms = PredictionHistograms()
    registry.register(histograms)
    labels = ("demo", "1", "champion")
    histograms.of(*labels, (0.5, 1.0)).observe([0.2])
    histograms.of(*labels, tuple(value / 2 for value in (1, 2))).observe([0.7])
    names = {"model": "demo", "version": "1", "role": "champion"}
    count = "windtunnel_serving_predictions_count"
    assert registry.get_sample_value(count, names) == 2
    histograms.of(*labels, (5.0,)).observe([7.0])
    assert registry.get_sample_value(count, names) == 1
    assert registry.get_sample_value("windtunnel_serving_predictions_bucket", {**names, "le": "5.0"}) == 0

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from windtunnel.exporter.metrics import LONGEST_LABEL, METRICS, Samples

DOCS = Path(__file__).parents[3] / "docs/metrics.md"
UNITS = ("_seconds", "_bytes", "_ratio", "_total", "_info")


def documented() -> dict[str, tuple[str, ...]]:
    """Metric → labels, of the tables in docs/metrics.md."""
    rows = re.findall(r"^\| `(windtunnel_(?!serving)\w+)` \|([^|]*)\|", DOCS.read_text(), flags=re.MULTILINE)
    return {name: tuple(re.findall(r"`(\w+)`", labels)) for name, labels in rows}


def test_the_documentation_has_every_metric_with_its_labels() -> None:
    assert documented() == {name: metric.labels for name, metric in METRICS.items()}


@pytest.mark.parametrize("name", METRICS)
def test_names_labels_and_words_keep_the_conventions(name: str) -> None:
    metric = METRICS[name]
    assert re.fullmatch(r"windtunnel_[a-z]+(_[a-z]+)+", name)
    assert metric.help.endswith(".")
    assert len(set(metric.labels)) == len(metric.labels)
    if not name.startswith("windtunnel_exporter_"):
        assert metric.labels[0] == "lifecycle"


def test_what_a_metric_is_not_told_by_is_refused() -> None:
    with pytest.raises(ValueError, match="windtunnel_model_loss has the labels"):
        Samples().add("windtunnel_model_loss", 1.0, "shop")


def test_what_is_no_number_is_no_sample() -> None:
    samples = Samples()
    for value in (None, float("nan"), float("inf")):
        samples.add("windtunnel_model_skew_ratio", value, "shop")
    assert samples.count() == 0


def test_long_labels_are_cut_and_two_that_are_cut_alike_are_one() -> None:
    samples = Samples()
    for value, ending in ((1.0, "a"), (2.0, "b")):
        samples.add("windtunnel_model_loss", value, "shop", "v" * LONGEST_LABEL + ending)
    assert samples.value("windtunnel_model_loss", "shop", "v" * LONGEST_LABEL) == 1.0
    assert samples.count() == 1


def test_what_is_no_text_in_a_label_is_shown_as_a_question_mark() -> None:
    samples = Samples()
    samples.add("windtunnel_model_loss", 1.0, "shop", "v\ud800")
    samples.add("windtunnel_model_loss", 2.0, "shop", "v\udfff")
    assert b'windtunnel_model_loss{lifecycle="shop",version="v?"} 1.0\n' in samples.text()
    assert samples.count() == 1


LABELS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(st.dictionaries(LABELS, st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=5))
def test_the_text_is_read_by_prometheus_client_as_it_was_meant(values: dict[str, float]) -> None:
    samples = Samples()
    samples.add("windtunnel_exporter_lifecycles", 7)
    for label, value in values.items():
        samples.add("windtunnel_ledger_entries_total", value, "shop", label)
    lifecycles, ledger = text_string_to_metric_families(samples.text().decode())
    assert (lifecycles.type, lifecycles.samples[0].value) == ("gauge", 7)
    assert (ledger.type, ledger.documentation) == ("counter", "Entries of the ledger, by action.")
    assert {sample.labels["action"]: sample.value for sample in ledger.samples} == values

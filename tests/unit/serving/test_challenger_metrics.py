from __future__ import annotations

from windtunnel.serving.challenger_link import Fault
from windtunnel.serving.metrics import Metrics


def test_a_version_that_becomes_the_challenger_again_begins_at_zero() -> None:
    metrics = Metrics()
    first = metrics.challenger.of("flights", "7")
    first.is_in("Ready")
    first.asked("shadow")
    first.faulted("routed", Fault("died", "killed by signal 9"))
    first.restarts.inc()
    first.gone()
    again = metrics.challenger.of("flights", "7")
    again.is_in("Loading")
    counted = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in metrics.registry.collect()
        for sample in family.samples
        if sample.labels.get("version") == "7"
    }
    assert {value for key, value in counted.items() if key[0].endswith("_total")} == {0.0}
    states = {dict(key[1:])["state"]: value for key, value in counted.items() if key[0].endswith("_state")}
    assert states.pop("Loading") == 1.0
    assert set(states.values()) == {0.0}


def test_a_version_that_is_no_challenger_any_more_leaves_no_series() -> None:
    metrics = Metrics()
    counts = metrics.challenger.of("flights", "7")
    counts.is_in("Ready")
    counts.gone()
    left = [
        s for family in metrics.registry.collect() for s in family.samples if s.labels.get("version") == "7"
    ]
    assert left == []

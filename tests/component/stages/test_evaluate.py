"""evaluate: one fresh window for both, a verdict with reasons."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from windtunnel.errors import DataError
from windtunnel.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Shop

CONSTANT = """\
from sklearn.dummy import DummyClassifier
def train(features, label):
    return DummyClassifier(strategy="prior").fit(features, label)
"""
SMALLER = """\
from sklearn.ensemble import HistGradientBoostingClassifier
def train(features, label):
    return HistGradientBoostingClassifier(max_iter=2, max_leaf_nodes=2).fit(features, label)
"""


def test_the_first_model_is_promoted_when_it_beats_the_base_rate(shop: Shop) -> None:
    snapshot = shop.snapshot()
    result = shop.evaluate(snapshot, shop.train(snapshot))
    assert result.facts["decision"] == "promote"
    assert result.facts["champion_version"] is None
    assert "base rate" in result.facts["reasons"][0]
    assert result.facts["interval"][1] < 0


def test_a_first_model_that_knows_nothing_is_refused_and_the_ledger_says_so_once(shop: Shop) -> None:
    shop.write_train(CONSTANT)
    snapshot = shop.snapshot()
    trained = shop.train(snapshot)
    judged = shop.evaluate(snapshot, trained)
    assert judged.facts["decision"] == "refuse"
    assert shop.rollout(trained, judged).facts["promoted"] is False
    entries = Ledger(shop.store, "shop").entries()
    assert [entry["action"] for entry in entries] == ["refusal"]
    assert entries[0]["reasons"]


def test_the_verdict_holds_everyones_metrics_and_the_calibration(shop: Shop) -> None:
    shop.promoted(seed=0)
    snapshot = shop.snapshot(seed=1)
    result = shop.evaluate(snapshot, shop.train(snapshot, "run-2"), "run-2")
    reference = result.outputs["verdict"]
    verdict = json.loads(shop.store.get(shop.store.key(reference.uri)))
    assert set(verdict["metrics"]) == {"challenger", "champion", "base_rate", "logistic"}
    for name in ("average_precision", "auc", "log_loss", "brier", "calibration_error", "calibration_slope"):
        assert name in verdict["metrics"]["challenger"]
        assert name in result.facts["metrics"]["challenger"]
    assert verdict["metrics"]["base_rate"]["auc"] == 0.5
    assert sum(b["rows"] for b in verdict["reliability"]["challenger"]) == 3000
    assert verdict["champion"]["version"] == "1"
    assert {g["name"] for g in verdict["gate"]["guardrails"]} == {
        "region=north",
        "region=south",
        "calibration",
    }
    json.dumps(result.to_json(), allow_nan=False)


def test_an_equal_challenger_refreshes_the_champion(shop: Shop) -> None:
    shop.promoted(seed=0)
    snapshot = shop.snapshot(seed=1)
    result = shop.evaluate(snapshot, shop.train(snapshot, "run-2"), "run-2")
    assert (result.facts["decision"], result.facts["champion_version"]) == ("promote", "1")


def test_an_equal_challenger_does_not_pass_improve(make_shop: Callable[..., Shop]) -> None:
    shop = make_shop(mode="improve")
    shop.promoted(seed=0)
    snapshot = shop.snapshot(seed=0)
    result = shop.evaluate(snapshot, shop.train(snapshot, "run-2"), "run-2")
    assert result.facts["decision"] == "refuse"
    assert "exactly" in result.facts["reasons"][0]


def test_a_worse_challenger_is_refused_with_the_difference(shop: Shop) -> None:
    shop.promoted(seed=0)
    shop.write_train(SMALLER)
    snapshot = shop.snapshot(seed=1)
    result = shop.evaluate(snapshot, shop.train(snapshot, "run-2"), "run-2")
    assert result.facts["decision"] == "refuse"
    assert "worse than champion version 1" in result.facts["reasons"][0]
    assert any("logistic regression does better" in reason for reason in result.facts["reasons"])


def test_a_window_that_the_champion_was_trained_on_is_refused(shop: Shop) -> None:
    shop.promoted(seed=0)
    snapshot = shop.snapshot(seed=1, start="2026-01-11")
    result = shop.evaluate(snapshot, shop.train(snapshot, "run-2"), "run-2")
    assert result.facts["decision"] == "refuse"
    assert "champion's training cut-off 2026-01-25" in result.facts["reasons"][0]


def test_a_verdict_is_cached_until_another_champion_serves(shop: Shop) -> None:
    snapshot = shop.snapshot()
    trained = shop.train(snapshot)
    judged = shop.evaluate(snapshot, trained)
    assert shop.evaluate(snapshot, trained, "run-2").cached
    shop.rollout(trained, judged)
    after = shop.evaluate(snapshot, trained, "run-3")
    assert not after.cached
    assert after.facts["champion_version"] == "1"


def test_a_champion_whose_feature_is_gone_is_named(shop: Shop) -> None:
    shop.promoted(seed=0)
    snapshot = shop.snapshot(seed=1)
    trained = shop.train(snapshot, "run-2")
    lost = shop.snapshot(seed=1, change=lambda frame: frame.rename({"visits": "calls"}))
    with pytest.raises(DataError, match="no feature 'visits'"):
        shop.evaluate(lost, trained, "run-2")


def test_values_are_judged_by_squared_error(make_shop: Callable[..., Shop]) -> None:
    shop = make_shop(kind="regression")
    snapshot = shop.snapshot()
    result = shop.evaluate(snapshot, shop.train(snapshot))
    assert result.facts["decision"] == "promote"
    assert result.facts["metrics"]["challenger"]["r2"] > 0.5

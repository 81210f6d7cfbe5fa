"""A warm start: on from the champion, and only where that is not worse than to train anew."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import polars as pl
import pytest

from windtunnel.errors import IntegrityError, SpecError
from windtunnel.ledger import Ledger
from windtunnel.registry.estimators import estimator_key
from windtunnel.registry.models import ModelRegistry

if TYPE_CHECKING:
    from windtunnel.stages.base import Reference, StageResult

    from .conftest import Shop

FOREST = """\
from sklearn.ensemble import HistGradientBoostingCLASS
def train(features, label, champion):
    cold = HistGradientBoostingCLASS(max_iter=30, max_leaf_nodes=4, warm_start=True, early_stopping=False)
    if champion is None:
        return cold.fit(features, label)
    return CHAMPION
"""
GOES_ON = FOREST.replace("CHAMPION", "champion.set_params(max_iter=60).fit(features, label)")
FORGETS = FOREST.replace("CHAMPION", "cold.fit(features, label.sample(frac=1, random_state=1).values)")


def over_days(frame: pl.DataFrame) -> pl.DataFrame:
    """The rows of a snapshot, spread over the 30 days before its evaluation window's end."""
    first = datetime(2026, 1, 1, tzinfo=UTC)
    moments = [first + timedelta(hours=24 * 30 * row / frame.height) for row in range(frame.height)]
    return frame.with_columns(pl.Series("event_timestamp", moments, dtype=pl.Datetime("us", "UTC")))


@pytest.fixture
def warm_shop(shop: Shop) -> Shop:
    path = shop.directory / "lifecycle.yaml"
    path.write_text(path.read_text().replace('"train:train"', '"train:train", warmStart: true'))
    shop.write_train(GOES_ON)
    return shop


def snapshot(shop: Shop, seed: int, start: str = "2026-01-25") -> Reference:
    return shop.snapshot(seed, start=start, change=over_days)


def promote_first(shop: Shop) -> StageResult:
    """A champion that has seen nothing since 2026-01-15."""
    frozen = snapshot(shop, 0, start="2026-01-15")
    trained = shop.train(frozen)
    shop.rollout(trained, shop.evaluate(frozen, trained))
    return trained


def test_the_first_model_starts_cold_and_leaves_what_a_second_one_may_go_on_from(warm_shop: Shop) -> None:
    trained = promote_first(warm_shop)
    assert (trained.facts["start"]["taken"], trained.facts["start"]["reason"]) == (
        "cold",
        "there is no champion yet",
    )
    assert warm_shop.store.exists(estimator_key("shop", trained.outputs["bundle"].digest))


def test_it_goes_on_from_the_champion_where_that_is_not_worse_and_the_verdict_says_so(
    warm_shop: Shop,
) -> None:
    promote_first(warm_shop)
    frozen = snapshot(warm_shop, 1)
    trained = warm_shop.train(frozen, "run-2")
    start = trained.facts["start"]
    assert (start["taken"], start["champion"]) == ("warm", "1")
    assert start["warm_loss"] <= start["cold_loss"]
    assert start["rows"] == 700, "the last seven days of thirty"
    version = ModelRegistry(warm_shop.env().settings.tracking_uri).get("shop", trained.facts["version"])
    assert version.tags["windtunnel.parent"] == "1"
    judged = warm_shop.evaluate(frozen, trained, "run-2")
    assert "note: trained on from version 1" in judged.facts["reasons"]
    assert warm_shop.train(frozen, "run-3").cached


def test_a_warm_start_that_is_worse_is_left(warm_shop: Shop) -> None:
    warm_shop.write_train(FORGETS)
    promote_first(warm_shop)
    frozen = snapshot(warm_shop, 1)
    trained = warm_shop.train(frozen, "run-2")
    start = trained.facts["start"]
    assert start["taken"] == "cold"
    assert start["warm_loss"] > start["cold_loss"]
    assert "note: trained from a cold start" in warm_shop.evaluate(frozen, trained, "run-2").facts["reasons"]


@pytest.mark.parametrize(("delay", "rows"), [(0, 50), (1, 100)])
def test_days_that_the_champion_was_trained_on_do_not_compare(warm_shop: Shop, delay: int, rows: int) -> None:
    """The last of them may have lasted until noon of the next: a day west of Greenwich ends after UTC's."""
    path = warm_shop.directory / "lifecycle.yaml"
    path.write_text(path.read_text().replace("kind: binary", f"kind: binary, delayDays: {delay}"))
    frozen = snapshot(warm_shop, 0, start="2026-01-30")
    trained = warm_shop.train(frozen)
    warm_shop.rollout(trained, warm_shop.evaluate(frozen, trained))
    start = warm_shop.train(snapshot(warm_shop, 1), "run-2").facts["start"]
    assert (start["taken"], start["rows"]) == ("cold", rows)
    assert (
        f"{rows} training rows are newer than champion version 1, a comparison takes 200" in start["reason"]
    )


def test_a_champion_that_left_no_estimator_is_not_gone_on_from(shop: Shop) -> None:
    promote_first(shop)
    path = shop.directory / "lifecycle.yaml"
    path.write_text(path.read_text().replace('"train:train"', '"train:train", warmStart: true'))
    shop.write_train(GOES_ON)
    start = shop.train(snapshot(shop, 1), "run-2").facts["start"]
    assert start["taken"] == "cold"
    assert (
        start["reason"] == "champion version 1 left no estimator: it was trained without training.warmStart"
    )


def test_an_estimator_that_was_changed_is_not_loaded(warm_shop: Shop) -> None:
    trained = promote_first(warm_shop)
    warm_shop.store.put(estimator_key("shop", trained.outputs["bundle"].digest), b"something else")
    with pytest.raises(IntegrityError, match="the estimator was changed"):
        warm_shop.train(snapshot(warm_shop, 1), "run-2")


def test_a_champion_of_types_that_are_not_trusted_is_not_loaded_and_the_start_is_cold(
    warm_shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a release sees it that trusts less than the one that wrote it."""
    promote_first(warm_shop)
    monkeypatch.setattr("windtunnel.registry.skops_bytes.TRUSTED_TYPES", ())
    start = warm_shop.train(snapshot(warm_shop, 1), "run-2").facts["start"]
    assert (start["taken"], start["champion"]) == ("cold", "1")
    assert "champion version 1 holds types that are not trusted: " in start["reason"]
    assert "TreePredictor" in start["reason"]


def test_a_model_with_a_type_of_the_users_own_leaves_nothing_to_go_on_from_and_says_so(
    warm_shop: Shop,
) -> None:
    """It is served as ONNX, which holds no such types."""
    warm_shop.write_train(
        GOES_ON.replace(
            "return cold.fit(features, label)", "cold.note = Note(); return cold.fit(features, label)"
        )
        + "class Note: ...\n"
    )
    trained = promote_first(warm_shop)
    assert "train.Note" in trained.facts["start"]["leaves_nothing"]
    assert not warm_shop.store.exists(estimator_key("shop", trained.outputs["bundle"].digest))
    start = warm_shop.train(snapshot(warm_shop, 1), "run-2").facts["start"]
    assert (start["taken"], start["champion"]) == ("cold", "1")
    assert start["reason"] == "champion version 1 left no estimator: skops cannot hold it"


def test_a_function_that_takes_no_champion_is_named(warm_shop: Shop) -> None:
    warm_shop.write_train("def train(features, label): ...\n")
    with pytest.raises(SpecError, match=r"train:train: training.warmStart is on.*features, label, champion"):
        warm_shop.train(snapshot(warm_shop, 0))


def test_why_a_training_was_started_stands_in_the_registry_and_in_the_ledger(shop: Shop) -> None:
    because = "drift of spend, for 2 windows in a row"
    frozen = shop.snapshot()
    for run in ("run-1", "run-1", "run-2"):
        trained = shop.execute("train", run, {"reason": because, "measure": "shop/m.json"}, snapshot=frozen)
    version = ModelRegistry(shop.env().settings.tracking_uri).get("shop", "1")
    assert version.tags["windtunnel.because"] == because
    told = Ledger(shop.store, "shop").entries()
    assert [entry["action"] for entry in told] == ["retrained", "retrained"], "one for each run"
    assert (told[1]["run_id"], told[1]["version"], told[1]["because"]) == ("run-2", "1", because)
    assert trained.cached, "what was there already is an answer too"


def test_why_a_training_was_started_stands_with_its_refusal_or_promotion(shop: Shop) -> None:
    because = {"reason": "drift of spend"}
    frozen = shop.snapshot()
    trained = shop.execute("train", "run-1", because, snapshot=frozen)
    judged = shop.execute("evaluate", "run-1", because, snapshot=frozen, **trained.outputs)
    shop.execute("rollout", "run-1", because, verdict=judged.outputs["verdict"], **trained.outputs)
    shop.write_train(
        "from sklearn.dummy import DummyClassifier\n"
        "def train(features, label):\n    return DummyClassifier(strategy='prior').fit(features, label)\n"
    )
    worse = shop.execute("train", "run-2", because, snapshot=frozen)
    shop.execute("evaluate", "run-2", because, snapshot=frozen, **worse.outputs)
    entries = {entry["action"]: entry for entry in Ledger(shop.store, "shop").entries()}
    assert entries["promotion"]["reason"].startswith("trained because of drift of spend; ")
    assert entries["refusal"]["because"] == "drift of spend"

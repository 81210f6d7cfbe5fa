"""retain: on what real stages left, made old."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from windtunnel.errors import IntegrityError
from windtunnel.lineage.trace import trace_version
from windtunnel.prediction_log.keys import object_key
from windtunnel.registry.bundle import read_bundle
from windtunnel.rollout.served_models import DirectoryServedModels

if TYPE_CHECKING:
    from windtunnel.spec.servedmodel import ServedModel
    from windtunnel.stages.base import StageResult

    from .conftest import Shop

DAY = 86_400.0


def make_older(shop: Shop, days: float) -> None:
    for path in (shop.root / "store").rglob("*"):
        if path.is_file():
            os.utime(path, (time.time() - days * DAY, time.time() - days * DAY))


def files(shop: Shop, folder: str = "") -> set[str]:
    root = shop.root / "store" / "shop"
    return {str(path.relative_to(root)) for path in (root / folder).rglob("*") if path.is_file()}


def serving(shop: Shop) -> ServedModel:
    found = DirectoryServedModels(shop.root / "served").get("shop")
    assert found is not None
    return found


def keep(shop: Shop, **days: int) -> None:
    """Add `retention` to the lifecycle."""
    path = shop.directory / "lifecycle.yaml"
    told = ", ".join(f"{name}: {value}" for name, value in days.items())
    path.write_text(path.read_text() + f"  retention: {{{told}}}\n")


def retain(shop: Shop, run_id: str = "retain-1", **params: Any) -> StageResult:
    return shop.execute("retain", run_id, params)


@pytest.fixture
def old(shop: Shop) -> Shop:
    """Two champions, one after the other, and a version that nobody judged; all of it 40 days old."""
    shop.promoted(seed=0, run_id="run-1")
    shop.promoted(seed=1, run_id="run-2")
    shop.train(shop.snapshot(seed=2), run_id="run-3")
    make_older(shop, 40)
    return shop


def test_what_never_served_goes_and_what_serves_or_may_serve_again_stays_whole(old: Shop) -> None:
    facts = retain(old).facts
    assert len({Path(name).parent for name in files(old, "bundles")}) == 2
    assert len({Path(name).parent for name in files(old, "snapshots")}) == 2
    assert set(facts["swept"]) == {"bundles", "snapshots"}
    assert facts["swept"]["snapshots"]["objects"] == 3
    assert facts["swept"]["bundles"]["bytes"] > 1_000
    spec = serving(old).spec
    assert spec.previous is not None
    for version in (spec.champion, spec.previous):
        assert read_bundle(old.store, version.bundle, version.digest)
        assert trace_version(old.store, "shop", version.version, version.digest).lost == []


def test_life_goes_on_afterwards(old: Shop) -> None:
    retain(old)
    before = files(old, "bundles")
    old.promoted(seed=3, run_id="run-4")
    assert serving(old).spec.champion.version == "4"
    assert before < files(old, "bundles")
    again = retain(old, "retain-2").facts
    assert again["swept"] == {}


def test_what_was_swept_is_made_again_when_it_is_asked_for(old: Shop) -> None:
    retain(old)
    again = old.train(old.snapshot(seed=2), run_id="run-5")
    assert not again.cached
    bundle = again.outputs["bundle"]
    assert read_bundle(old.store, bundle.uri, bundle.digest)


def test_a_dry_run_says_the_same_and_deletes_nothing(old: Shop) -> None:
    before = files(old)
    said = retain(old, dry_run=True).facts
    assert said["dry_run"] is True
    assert files(old) - before == {"runs/retain-1/retain.1.json"}
    done = retain(old, "retain-2").facts
    assert done["swept"] == said["swept"]


def test_records_caches_and_pages_go_when_their_time_is_over_and_the_ledger_never(old: Shop) -> None:
    old.store.put("shop/measures/20260101T000000Z-1-a.html", b"<html>")
    old.store.put("shop/measures/20260101T000000Z-1-a.json", b"{}")
    for number in range(25):
        old.store.put(f"shop/runs/older-{number:02}/publish.1.json", b"{}")
    make_older(old, 91)
    facts = retain(old).facts
    assert {"records", "cache", "reports", "bundles", "snapshots"} == set(facts["swept"])
    runs = [Path(name).parts[1] for name in files(old, "runs")]
    assert len({run for run in runs if run.startswith("older")}) == 20, "the newest of a stage"
    assert {"run-1", "run-2", "run-3", "retain-1"} < set(runs)
    assert files(old, "measures") == {"measures/20260101T000000Z-1-a.json"}
    assert not files(old, "cache")
    assert {"ledger", "verdicts"} <= {Path(name).parts[0] for name in files(old)}


def test_predictions_and_features_go_by_their_days_where_the_lifecycle_says_so(old: Shop) -> None:
    keys = [
        *(f"shop/predictions/2020-01-0{day}/10/pod-00000000.parquet" for day in (1, 2)),
        *(
            f"shop/{kind}/2026-0{month}-01.{ending}"
            for kind in ("features/customer", "partitions/orders")
            for month in (1, 4)
            for ending in ("json", "parquet")
        ),
    ]
    for key in keys:
        old.store.put(key, b"log")
    make_older(old, 2)
    assert not {"predictions", "features"} & set(retain(old).facts["swept"])
    keep(old, predictionDays=30, featureDays=60)
    facts = retain(old, "retain-2").facts
    assert facts["swept"] == {
        "predictions": {"objects": 2, "bytes": 6},
        "features": {"objects": 2, "bytes": 6},
        "partitions": {"objects": 2, "bytes": 6},
    }
    assert files(old, "features") == {f"features/customer/2026-04-01.{kind}" for kind in ("json", "parquet")}
    assert not files(old, "predictions")


def test_a_prediction_in_the_log_keeps_what_answered_it(shop: Shop) -> None:
    """A version whose seat another took long ago, and which the history has forgotten."""
    trained, _ = shop.promoted(seed=0, run_id="run-1")
    shop.promoted(seed=1, run_id="run-2")
    models = DirectoryServedModels(shop.root / "served")
    model = serving(shop)
    forgotten = model.spec.model_copy(update={"history": model.spec.history[-1:], "previous": None})
    models.replace(model.model_copy(update={"spec": forgotten}), model.metadata.resource_version or "")
    answered = model.spec.history[0].at
    bundle = trained.outputs["bundle"].digest
    key = object_key("shop", int(answered.timestamp()) // 3600, "pod", 0, bundle)
    shop.store.put(key, b"log")
    make_older(shop, 40)
    keep(shop, recordDays=35)  # those of its evaluation are older
    assert not {"bundles", "snapshots"} & set(retain(shop).facts["swept"])
    shop.store.delete(key)
    assert {"bundles", "snapshots"} <= set(retain(shop, "retain-2").facts["swept"])
    assert not files(shop, f"bundles/{bundle[7:]}")


def test_a_bundle_that_is_trained_again_is_evaluated_again(old: Shop) -> None:
    """Its reference profile went with it."""
    snapshot = old.snapshot(seed=1)
    old.evaluate(snapshot, old.train(snapshot, run_id="run-4"), run_id="run-4")
    trained = old.train(snapshot, run_id="run-5")
    assert old.evaluate(snapshot, trained, run_id="run-5").cached
    old.store.delete(f"shop/bundles/{trained.outputs['bundle'].digest[7:]}/reference.json")
    assert not old.evaluate(snapshot, trained, run_id="run-6").cached
    assert old.store.exists(f"shop/bundles/{trained.outputs['bundle'].digest[7:]}/reference.json")


def test_what_a_run_uses_from_the_cache_is_young_again(old: Shop) -> None:
    old.train(old.snapshot(seed=2), run_id="run-4")
    assert retain(old).facts["swept"] == {}


def test_a_version_that_somebody_looks_at_is_young_again(old: Shop) -> None:
    old.execute("monitor", "monitor-1", {"version": "3"})
    retain(old)
    assert len({Path(name).parent for name in files(old, "bundles")}) == 3


def test_without_its_served_model_a_lifecycle_loses_no_bundle(
    old: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    (old.root / "served" / "shop.json").unlink()
    before = files(old)
    with caplog.at_level("INFO", logger="windtunnel.stage"):
        retain(old)
    assert before < files(old)
    assert "there is no ServedModel: is it lost?" in caplog.text


def test_a_ledger_that_was_changed_keeps_everything_and_fails_the_stage(old: Shop) -> None:
    path = old.root / "store" / "shop" / "ledger" / "000001.json"
    path.write_bytes(path.read_bytes().replace(b"promotion", b"Promotion"))
    before = files(old)
    with pytest.raises(IntegrityError, match="does not follow"):
        retain(old)
    assert before < files(old)

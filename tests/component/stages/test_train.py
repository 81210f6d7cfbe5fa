"""train: the user's function → one version per bundle, the same for the same snapshot."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl
import pytest

from windtunnel.errors import DataError, PermanentError, SpecError
from windtunnel.registry.bundle import read_bundle
from windtunnel.registry.models import ModelRegistry

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Shop


def test_a_snapshot_becomes_a_version_with_a_bundle_that_predicts(shop: Shop) -> None:
    snapshot = shop.snapshot()
    result = shop.train(snapshot)
    assert result.facts["version"] == "1"
    assert result.facts["runtime"] == "onnx"
    reference = result.outputs["bundle"]
    bundle = read_bundle(shop.store, reference.uri, reference.digest)
    assert bundle.features == ["spend", "visits", "hour"]
    assert bundle.manifest["features"][0] == {"name": "spend", "source": "customer:spend"}
    assert bundle.manifest["features"][2] == {"name": "hour", "source": "request"}
    assert bundle.manifest["online"]["views"][0]["join_keys"] == [{"name": "customer", "type": "STRING"}]
    assert bundle.manifest["snapshot"] == snapshot.digest
    assert bundle.manifest["cutoff"] == "2026-01-25"
    assert bundle.predict(bundle.golden[0]) == pytest.approx(bundle.golden[1], abs=1e-5)


def test_the_version_in_mlflow_is_tied_to_all_that_it_comes_from(shop: Shop) -> None:
    snapshot = shop.snapshot()
    result = shop.train(snapshot)
    version = ModelRegistry(shop.env().settings.tracking_uri).get("shop", "1")
    assert version.tags == {
        "windtunnel.spec": shop.env().lifecycle.digest,
        "windtunnel.code": shop.env().code_version,
        "windtunnel.snapshot": snapshot.digest,
        "windtunnel.bundle": result.outputs["bundle"].uri,
        "windtunnel.bundle_digest": result.outputs["bundle"].digest,
        "windtunnel.run_id": "run-1",
    }


def test_training_again_is_cached_and_training_by_force_gives_the_same_version(shop: Shop) -> None:
    snapshot = shop.snapshot()
    first = shop.train(snapshot)
    assert shop.train(snapshot, "run-2").cached
    from windtunnel.stages.base import StageRequest, execute

    request = StageRequest("shop", "train", "run-3", params={"force": True}, inputs={"snapshot": snapshot})
    forced = execute("train", request, shop.env())
    assert not forced.cached
    assert forced.outputs["bundle"].digest == first.outputs["bundle"].digest
    assert forced.facts["version"] == "1"


def test_a_registry_that_lost_the_version_is_not_hidden_by_the_cache(shop: Shop) -> None:
    snapshot = shop.snapshot()
    shop.train(snapshot)
    from mlflow import MlflowClient

    MlflowClient(shop.env().settings.tracking_uri).delete_model_version("shop", "1")
    again = shop.train(snapshot)
    assert (again.cached, again.facts["version"]) == (False, "2")


def test_an_estimator_without_a_seed_is_repeatable(shop: Shop) -> None:
    shop.write_train(
        "from sklearn.ensemble import RandomForestClassifier\n"
        "from sklearn.impute import SimpleImputer\n"
        "from sklearn.pipeline import make_pipeline\n"
        "def train(features, label):\n"
        "    model = make_pipeline(SimpleImputer(), RandomForestClassifier(5, max_depth=4))\n"
        "    return model.fit(features, label)\n"
    )
    from windtunnel.stages import train
    from windtunnel.stages.base import StageRequest

    request = StageRequest("shop", "train", "r", inputs={"snapshot": shop.snapshot()})
    digests = {train.run(request, shop.env()).outputs["bundle"].digest for _ in range(2)}
    assert len(digests) == 1


def test_a_value_is_trained_by_a_regressor(make_shop: Callable[..., Shop]) -> None:
    shop = make_shop(kind="regression")
    result = shop.train(shop.snapshot())
    reference = result.outputs["bundle"]
    assert read_bundle(shop.store, reference.uri, reference.digest).manifest["output"]["name"] == "value"


def test_a_function_that_returns_no_estimator_is_named(shop: Shop) -> None:
    shop.write_train("def train(features, label):\n    return None\n")
    with pytest.raises(SpecError, match=r"train:train: it returned NoneType.*return estimator"):
        shop.train(shop.snapshot())


def test_the_users_exception_comes_through_with_its_line(shop: Shop) -> None:
    shop.write_train("def train(features, label):\n    raise RuntimeError('no luck')\n")
    with pytest.raises(RuntimeError, match="no luck") as caught:
        shop.train(shop.snapshot())
    assert "train.py" in str(caught.traceback[-1].path)


def test_running_out_of_memory_is_told_with_the_way_out(shop: Shop) -> None:
    shop.write_train("def train(features, label):\n    raise MemoryError\n")
    with pytest.raises(PermanentError, match=r"3,000 rows of 3 features.*larger class"):
        shop.train(shop.snapshot())


def test_a_feature_without_any_value_is_named_in_the_log(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    shop.write_train(
        "from sklearn.impute import SimpleImputer\n"
        "from sklearn.linear_model import LogisticRegression\n"
        "from sklearn.pipeline import make_pipeline\n"
        "def train(features, label):\n"
        "    model = make_pipeline(SimpleImputer(keep_empty_features=True), LogisticRegression())\n"
        "    return model.fit(features, label)\n"
    )
    empty = pl.lit(None, pl.Float64)
    shop.train(shop.snapshot(change=lambda frame: frame.with_columns(visits=empty)))
    assert "feature 'visits' has no value" in caplog.text


def test_one_class_of_labels_is_refused(shop: Shop) -> None:
    snapshot = shop.snapshot(change=lambda frame: frame.with_columns(bought=pl.lit(0.0)))
    with pytest.raises(DataError, match="all 3,000 labels"):
        shop.train(snapshot)

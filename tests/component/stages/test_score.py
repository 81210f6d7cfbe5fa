"""score: batch predictions of the champion, every asked row in exactly one shard."""

from __future__ import annotations

import dataclasses
import sys
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest
from synthetic_flights import DAYS, get_frame, make_env, run_features, run_stage

from windtunnel.errors import NotFoundError, RequestError
from windtunnel.features.point_in_time import point_in_time, read_entity_rows
from windtunnel.registry.bundle import read_bundle
from windtunnel.registry.models import ModelRegistry
from windtunnel.registry.snapshots import to_inputs
from windtunnel.stages.base import StageRequest, execute

if TYPE_CHECKING:
    from pathlib import Path

    from windtunnel.stages.base import StageEnv, StageResult

DAY = DAYS[-1]
FOLDER = f"flight_delay/scores/{DAY}/1"
# The invented weather has no gusts at all, which the example's trees do not take.
TRAIN = """\
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
def train(features, label):
    steps = SimpleImputer(keep_empty_features=True), StandardScaler(), LogisticRegression()
    return make_pipeline(*steps).fit(features, label)
"""


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> StageEnv:
    """Features of some days and a champion trained on them."""
    root = tmp_path_factory.mktemp("score")
    env = make_env(root)
    (env.directory / "train.py").write_text(TRAIN)
    settings = dataclasses.replace(env.settings, tracking_uri=f"sqlite:///{root}/mlflow.db")
    env = dataclasses.replace(env, settings=settings)
    sys.modules.pop("features", None)
    sys.modules.pop("train", None)
    run_features(env)
    snapshot = run_stage(env, "snapshot", end=DAY).outputs
    execute("train", StageRequest("flight_delay", "train", "run", inputs=snapshot), env)
    ModelRegistry(settings.tracking_uri).set_champion("flight_delay", "1")
    return env


def score(env: StageEnv, **params: object) -> StageResult:
    return run_stage(env, "score", **{"start": DAY, "end": DAY, **params})


def files(env: StageEnv, folder: str = FOLDER) -> list[str]:
    return [entry.key.rpartition("/")[2] for entry in env.store.list(folder)]


def test_every_row_that_was_asked_is_scored_as_the_bundle_answers(env: StageEnv) -> None:
    result = score(env)
    scored = get_frame(env, f"{FOLDER}/0-of-1.parquet")
    asked = read_entity_rows(env, DAY)
    assert result.facts["rows"] == scored.height == asked.height
    assert result.facts["version"] == "1"
    champion = ModelRegistry(env.settings.tracking_uri).champion("flight_delay")
    assert champion is not None
    bundle = read_bundle(env.store, champion.bundle, champion.bundle_digest)
    expected = bundle.predict(to_inputs(point_in_time(env, asked), bundle.features, {}))
    np.testing.assert_array_equal(scored["prediction"].to_numpy(), expected)
    assert scored.columns[-1] == "prediction"
    assert "late" not in scored.columns


def test_shards_divide_the_rows_by_entity_and_take_the_place_of_other_shardings(env: StageEnv) -> None:
    whole = score(env).facts["rows"]
    results = [score(env, shard=shard, shards=3) for shard in range(3)]
    assert files(env) == ["0-of-3.parquet", "1-of-3.parquet", "2-of-3.parquet"]
    assert sum(result.facts["rows"] for result in results) == whole
    keys = ["origin", "dest", "carrier", "hour"]
    frames = [get_frame(env, f"{FOLDER}/{name}").select(keys).unique() for name in files(env)]
    assert pl.concat(frames).is_unique().all()


def test_scoring_again_is_cached_until_its_files_are_gone(env: StageEnv) -> None:
    score(env, shard=0, shards=2)
    assert score(env, shard=0, shards=2).cached
    env.store.delete(f"{FOLDER}/0-of-2.parquet")
    assert not score(env, shard=0, shards=2).cached


def test_files_of_another_scoring_in_the_same_place_are_not_taken_for_the_cached_ones(env: StageEnv) -> None:
    score(env, shard=1, shards=2)
    key = f"{FOLDER}/1-of-2.parquet"
    right = env.store.get(key)
    env.store.put(key, b"of other features")
    assert not score(env, shard=1, shards=2).cached
    assert env.store.get(key) == right


def test_a_range_of_days_is_a_file_per_day(env: StageEnv) -> None:
    score(env, start=DAYS[-2], shard=0, shards=2)
    assert "0-of-2.parquet" in files(env, f"flight_delay/scores/{DAYS[-2]}/1")


def test_a_shard_that_is_none_is_refused(env: StageEnv) -> None:
    with pytest.raises(RequestError, match="shards count from 0"):
        score(env, shard=2, shards=2)


def test_without_a_champion_there_is_nothing_to_score_with(env: StageEnv, tmp_path: Path) -> None:
    settings = dataclasses.replace(env.settings, tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")
    with pytest.raises(NotFoundError, match="no champion"):
        score(dataclasses.replace(env, settings=settings))

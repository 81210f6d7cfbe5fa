"""score: batch predictions of the champion, every asked row in exactly one shard."""

from __future__ import annotations

import dataclasses
import sys
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest
from synthetic_flights import DAYS, get_frame, make_env, run_features, run_stage

from windtunnel.errors import DataError, NotFoundError, RequestError
from windtunnel.features.definitions import load_definitions
from windtunnel.features.point_in_time import point_in_time, read_entity_rows
from windtunnel.prediction_log.frames import schema
from windtunnel.prediction_log.ids import parse_id
from windtunnel.prediction_log.keys import SCORES, short
from windtunnel.prediction_log.reading import find, read
from windtunnel.registry.bundle import read_bundle
from windtunnel.registry.models import DIGEST_TAG, ModelRegistry
from windtunnel.registry.snapshots import to_inputs
from windtunnel.stages.base import StageRequest, execute
from windtunnel.stages.score import answers

if TYPE_CHECKING:
    from pathlib import Path

    from windtunnel.stages.base import StageEnv, StageResult

DAY = DAYS[-1]
DAY_OF = {"start": str(DAY), "end": str(DAY)}
FOLDER = f"flight_delay/scores/{DAY}/00"
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


def file(env: StageEnv, name: str) -> str:
    """The key of a file, which tells of its bundle."""
    champion = ModelRegistry(env.settings.tracking_uri).champion("flight_delay")
    assert champion is not None
    return f"{FOLDER}/{name}-{short(champion.bundle_digest)}.parquet"


def test_every_row_that_was_asked_is_scored_as_the_bundle_answers(env: StageEnv) -> None:
    result = score(env)
    scored = get_frame(env, file(env, "1-0-of-1"))
    asked = read_entity_rows(env, DAY)
    assert result.facts["rows"] == scored.height == asked.height
    assert result.facts["version"] == "1"
    champion = ModelRegistry(env.settings.tracking_uri).champion("flight_delay")
    assert champion is not None
    bundle = read_bundle(env.store, champion.bundle, champion.bundle_digest)
    inputs = to_inputs(point_in_time(env, asked), bundle.features, {})
    np.testing.assert_array_equal(scored["prediction"].to_numpy(), bundle.predict(inputs))
    assert scored.schema == schema(bundle.features, load_definitions(env.directory, env.lifecycle).join_keys)
    logged = scored["features"].struct.unnest()
    assert logged.columns == bundle.features
    np.testing.assert_array_equal(to_inputs(logged, bundle.features, {}), inputs)
    assert scored["missing"].to_list() == np.isnan(inputs).sum(axis=1).tolist()
    assert scored["event_time"].to_list() == asked["event_timestamp"].to_list()
    assert set(scored["role"]) == {"batch"}
    assert set(scored["digest"]) == {champion.bundle_digest}
    assert scored["latency_seconds"].null_count() == scored.height


def test_ids_are_those_of_the_day_and_the_same_each_time(env: StageEnv) -> None:
    first = score(env).facts["first_id"]
    scored = get_frame(env, file(env, "1-0-of-1"))
    assert scored["prediction_id"].n_unique() == scored.height
    assert first == scored["prediction_id"][0]
    assert {parse_id(one).time for one in scored["prediction_id"]} == {datetime.combine(DAY, time(), UTC)}
    whole = env.store.get(file(env, "1-0-of-1"))
    score(env, force=True)
    assert env.store.get(file(env, "1-0-of-1")) == whole
    score(env, shard=0, shards=2)
    part = get_frame(env, file(env, "1-0-of-2"))
    assert set(part["prediction_id"]) < set(scored["prediction_id"]), "a row keeps its id in another sharding"


def test_scores_are_found_and_read_as_the_log_of_serving_is(env: StageEnv) -> None:
    first = score(env).facts["first_id"]
    (row,) = find(env.store, first)
    assert row.role == "batch"
    begin = datetime.combine(DAY, time(), UTC)
    frames = read(env.store, "flight_delay", begin, begin + timedelta(days=1), folder=SCORES)
    (frame,) = frames.values()
    assert frame.equals(get_frame(env, row.object_key))


def test_shards_divide_the_rows_by_entity_and_take_the_place_of_other_shardings(env: StageEnv) -> None:
    whole = score(env).facts["rows"]
    results = [score(env, shard=shard, shards=3) for shard in range(3)]
    assert [name.rpartition("-")[0] for name in files(env)] == ["1-0-of-3", "1-1-of-3", "1-2-of-3"]
    assert sum(result.facts["rows"] for result in results) == whole
    frames = [get_frame(env, f"{FOLDER}/{name}")["entities"].struct.unnest().unique() for name in files(env)]
    assert pl.concat(frames).is_unique().all()


def test_scoring_again_is_cached_until_its_files_are_gone(env: StageEnv) -> None:
    score(env, shard=0, shards=2)
    assert score(env, shard=0, shards=2).cached
    env.store.delete(file(env, "1-0-of-2"))
    assert not score(env, shard=0, shards=2).cached


def test_files_of_another_scoring_in_the_same_place_are_not_taken_for_the_cached_ones(env: StageEnv) -> None:
    score(env, shard=1, shards=2)
    key = file(env, "1-1-of-2")
    right = env.store.get(key)
    env.store.put(key, b"of other features")
    assert not score(env, shard=1, shards=2).cached
    assert env.store.get(key) == right


def test_what_another_bundle_scored_under_the_same_version_is_replaced(env: StageEnv) -> None:
    """As after MLflow was lost, and counts from 1 again."""
    of_another = f"{FOLDER}/1-0-of-1-{'a' * 16}.parquet"
    of_another_version = f"{FOLDER}/2-0-of-1-{'a' * 16}.parquet"
    for key in (of_another, of_another_version):
        env.store.put(key, b"scores")
    score(env)
    keys = {f"{FOLDER}/{name}" for name in files(env)}
    assert keys == {file(env, "1-0-of-1"), of_another_version}


def test_the_bundle_that_scores_is_young_again(env: StageEnv) -> None:
    """So retention keeps it, though nothing else may refer to that version."""
    champion = ModelRegistry(env.settings.tracking_uri).champion("flight_delay")
    assert champion is not None
    manifest = env.store.key(champion.bundle) + "/manifest.json"
    before = env.store.modified(manifest)
    score(env, version="1", force=True)
    after = env.store.modified(manifest)
    assert before is not None
    assert after is not None
    assert after > before


def test_a_range_of_days_is_a_file_per_day(env: StageEnv) -> None:
    result = score(env, start=DAYS[-2], shard=0, shards=2)
    assert result.outputs["scores"].meta["start"] == str(DAYS[-2])
    (name,) = files(env, f"flight_delay/scores/{DAYS[-2]}/00")
    assert name.startswith("1-0-of-2-")


def test_a_shard_that_is_none_is_refused(env: StageEnv) -> None:
    with pytest.raises(RequestError, match="shards count from 0"):
        score(env, shard=2, shards=2)


def test_without_a_champion_there_is_nothing_to_score_with(env: StageEnv, tmp_path: Path) -> None:
    settings = dataclasses.replace(env.settings, tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")
    with pytest.raises(NotFoundError, match="no champion"):
        score(dataclasses.replace(env, settings=settings))


def test_all_shards_of_a_run_are_scored_by_one_version(env: StageEnv) -> None:
    registry = ModelRegistry(env.settings.tracking_uri)
    one = registry.champion("flight_delay")
    assert one is not None
    two = registry.register(
        "flight_delay", one.bundle, {**one.tags, DIGEST_TAG: "sha256:" + "2" * 64}, {}, {}
    )
    requests = [
        StageRequest("flight_delay", "score", "run-pin", params={**DAY_OF, "shard": shard, "shards": 2})
        for shard in range(2)
    ]
    assert execute("score", requests[0], env).facts["version"] == "1"
    registry.set_champion("flight_delay", two.version)
    try:
        assert execute("score", requests[1], env).facts["version"] == "1"
    finally:
        registry.set_champion("flight_delay", "1")


def test_a_version_may_be_named_that_is_not_the_champion(env: StageEnv) -> None:
    assert score(env, version="1").facts["version"] == "1"
    with pytest.raises(NotFoundError, match="no version 99"):
        score(env, version="99")


def test_rows_that_serving_would_refuse_stop_it(env: StageEnv) -> None:
    champion = ModelRegistry(env.settings.tracking_uri).champion("flight_delay")
    assert champion is not None
    bundle = read_bundle(env.store, champion.bundle, champion.bundle_digest)
    rows = point_in_time(env, read_entity_rows(env, DAY))
    keys = ["origin", "carrier"]
    inputs = to_inputs(rows, bundle.features, {})
    inputs[7, 0] = 1e39
    assert bundle.manifest["input"]["dtype"] == "float32"
    with pytest.raises(DataError, match=r"1 of 90 rows cannot be scored; the first has a number above"):
        answers(bundle, inputs, rows, keys)
    silent = dataclasses.replace(bundle, predictor=lambda asked: np.where(asked[:, 0] > 0, np.nan, 0.5))
    inputs[:, 0] = -1
    inputs[3, 0] = 1
    with pytest.raises(DataError, match=r"the first gets no number from the model") as refused:
        answers(silent, inputs, rows, keys)
    assert f"origin={rows['origin'][3]}, carrier={rows['carrier'][3]}" in refused.value.where

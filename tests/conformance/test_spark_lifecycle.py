"""A lifecycle with `engine: spark` does what it does with `engine: asof`: the same bytes online, the same
features for every question; and a fault on an executor fails the stage."""

from __future__ import annotations

import dataclasses
from contextlib import closing
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
import redis
from polars.testing import assert_frame_equal
from redis_process import redis_process
from synthetic_flights import DAYS, make_env, run_features, run_stage

from windtunnel.errors import DataError, StoreError
from windtunnel.features.daily import feature_rows_of
from windtunnel.features.definitions import load_definitions
from windtunnel.features.engines import feature_engine
from windtunnel.features.feature_store import online_store_config, open_feature_store
from windtunnel.features.point_in_time import point_in_time, read_entity_rows
from windtunnel.features.spark.session import session_conf, start_session

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

    from feast import FeatureStore

    from windtunnel.spec.lifecycle import Engine
    from windtunnel.stages.base import StageEnv

pytestmark = pytest.mark.filterwarnings("ignore:The spark:RuntimeWarning")

LOCAL = """{
    "spark.master": "local[2]",
    "spark.sql.shuffle.partitions": 2,
    "spark.sql.codegen.wholeStage": false,
    "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
    "spark.executor.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
}"""
# An executor in a process of its own: what it needs must reach it as it would on Kubernetes.
ELSEWHERE = LOCAL.replace("local[2]", "local-cluster[1,2,1024]")
# The second is older, and has days of the first.
SLICES = [(DAYS[6], DAYS[11]), (DAYS[0], DAYS[8])]


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with redis_process() as port:
        yield port


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> StageEnv:
    """Feature rows of twelve days."""
    env = make_env(tmp_path_factory.mktemp("engines"))
    run_features(env)
    return env


@pytest.fixture
def session(request: pytest.FixtureRequest) -> Iterator[str]:
    """A Spark session; the settings that made it."""
    text: str = getattr(request, "param", LOCAL)
    session = start_session(session_conf(text))
    yield text
    session.stop()


def on(env: StageEnv, engine: Engine, online: str, spark_conf: str = "") -> StageEnv:
    features = env.lifecycle.spec.features.model_copy(update={"engine": engine})
    spec = env.lifecycle.spec.model_copy(update={"features": features})
    return dataclasses.replace(
        env,
        lifecycle=env.lifecycle.model_copy(update={"spec": spec}),
        settings=dataclasses.replace(env.settings, online_store=online, spark_conf=spark_conf),
    )


def filled(
    env: StageEnv, database: redis.Redis
) -> tuple[dict[bytes, dict[bytes, bytes]], list[dict[str, Any]]]:
    """What is online after several slices, and what the stage said of each."""
    facts = []
    for start, end in SLICES:
        for view in env.lifecycle.spec.features.views:
            said = run_stage(env, "materialize", view=view, start=start, end=end, force=True).facts
            facts.append({name: value for name, value in said.items() if name != "seconds"})
    keys = [key for key in database.scan_iter() if not key.startswith(b"windtunnel:")]
    return {key: database.hgetall(key) for key in keys}, facts


@pytest.mark.parametrize("session", [LOCAL, ELSEWHERE], indirect=True, ids=["here", "executors elsewhere"])
def test_both_engines_give_the_same(session: str, made: StageEnv, port: int) -> None:
    answers: dict[str, Any] = {}
    for number, engine in enumerate(("asof", "spark")):
        url = f"redis://127.0.0.1:{port}/{number}"
        env = on(made, engine, url, session)  # type: ignore[arg-type]
        with closing(redis.Redis.from_url(url)) as database:
            database.flushdb()
            online = filled(env, database)
        asked = pl.concat([read_entity_rows(env, day) for day in DAYS[7:9]], how="vertical_relaxed")
        answers[engine] = (*online, point_in_time(env, asked))
    assert len(answers["asof"][0]) > 5
    assert answers["spark"][0] == answers["asof"][0]
    assert answers["spark"][1] == answers["asof"][1]
    assert_frame_equal(answers["spark"][2], answers["asof"][2])


def test_a_dead_online_store_fails_the_stage_and_moves_no_watermark(
    session: str, made: StageEnv, tmp_path: Path
) -> None:
    env = on(made, "spark", "redis://127.0.0.1:1/0", session)
    store, first, last = opened(env, tmp_path)
    engine = feature_engine("spark", env.settings)
    with pytest.raises(StoreError, match="online store"):
        engine.materialize(store, "weather", first, last)
    assert store.get_feature_view("weather").materialization_intervals == []


def test_feature_files_that_lack_a_column_are_named(session: str, made: StageEnv, tmp_path: Path) -> None:
    env = on(made, "spark", f"sqlite://{tmp_path}/online.db", session)
    store, first, last = opened(env, tmp_path, drop="wind_gust")
    with pytest.raises(DataError, match="wind_gust"):
        feature_engine("spark", env.settings).materialize(store, "weather", first, last)


def opened(env: StageEnv, tmp_path: Path, drop: str = "") -> tuple[FeatureStore, datetime, datetime]:
    """A feature store over one day of weather, and when its rows begin and end."""
    engine = feature_engine("spark", env.settings)
    sidecars = feature_rows_of(env.store, env.lifecycle.name, "weather").available([DAYS[7]])
    fetched = engine.fetch(env.store, env.lifecycle.name, "weather", sidecars, tmp_path)
    if drop:
        file = tmp_path / "rows" / "weather" / f"{DAYS[7]}.parquet"
        pl.read_parquet(file).drop(drop).write_parquet(file)
    first, last = engine.extent(fetched)
    assert first
    assert last
    store = open_feature_store(
        load_definitions(env.directory, env.lifecycle),
        env.lifecycle.name,
        {"weather": fetched.files},
        tmp_path,
        engine,
        online_store_config(env.settings),
    )
    return store, first, last

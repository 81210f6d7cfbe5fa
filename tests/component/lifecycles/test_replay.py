"""A replay asks what was asked, and finds online what was known then: no more, and no less."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
import redis
from dev.demo.replay import OnlineStore, World, replay
from redis_process import redis_process
from synthetic_flights import DAYS, make_env, run_features

from windtunnel.features.daily import feature_rows_of
from windtunnel.features.describe import describe_online
from windtunnel.features.online.online_reader import OnlineReader, OnlineView
from windtunnel.features.online.redis_address import RedisAddress
from windtunnel.features.online.redis_connection import RedisConnection
from windtunnel.features.point_in_time import point_in_time, read_entity_rows
from windtunnel.registry.snapshots import to_inputs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from windtunnel.stages.base import StageEnv

FIRST, LAST = DAYS[5], DAYS[7]


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StageEnv]:
    with redis_process() as port:
        env = make_env(tmp_path_factory.mktemp("replay"), online=f"redis://127.0.0.1:{port}/0")
        run_features(env)
        yield env


def world(env: StageEnv, work: Path) -> World:
    return World(env.directory, env.store, env.settings, work)


class Asked:
    """Answers as a served model does, but with nothing in it: it keeps what it would have told a model."""

    def __init__(self, env: StageEnv) -> None:
        online = describe_online(env.directory, env.lifecycle)["online"]
        self.columns = [(v["name"], f["name"]) for v in online["views"] for f in v["features"]]
        self.requests: list[dict[str, Any]] = []
        self.values: list[Any] = []
        self._url = env.settings.online_store
        self._project = online["project"]
        self._views = [
            OnlineView(
                name=view["name"],
                join_keys={key["name"]: key["type"] for key in view["join_keys"]},
                features=tuple(feature["name"] for feature in view["features"]),
                ttl_seconds=view["ttl_seconds"],
            )
            for view in online["views"]
        ]

    def __call__(self, request: dict[str, Any]) -> dict[str, Any]:
        tensors = {tensor["name"]: tensor["data"] for tensor in request["inputs"]}
        moment = datetime.fromisoformat(request["parameters"]["event_timestamp"])
        entities = {name: tensors[name] for name in ("origin", "dest", "carrier", "hour")}
        self.requests.append(request)
        self.values.append(asyncio.run(self._read(entities, moment)))
        rows = len(tensors["origin"])
        return {
            "model_version": "7",
            "parameters": {"missing_features": 0},
            "outputs": [{"data": [0.5] * rows}],
        }

    async def _read(self, entities: dict[str, Any], moment: datetime) -> Any:
        connection = RedisConnection(RedisAddress.parse(self._url, ""))
        try:
            reader = OnlineReader(connection, self._project, self._views, self.columns)
            return (await reader.read(entities, moment.timestamp())).values
        finally:
            await connection.close()


def test_each_question_finds_online_what_a_training_set_would_have(env: StageEnv, tmp_path: Path) -> None:
    asked = Asked(env)
    replayed = replay(world(env, tmp_path), FIRST, LAST, asked)
    questions = pl.concat([read_entity_rows(env, day) for day in DAYS[5:8]]).sort(
        "event_timestamp", maintain_order=True
    )
    offline = to_inputs(point_in_time(env, questions), [name for _, name in asked.columns], {})
    np.testing.assert_array_equal(np.concatenate(asked.values), offline)
    assert np.isnan(offline).any(), "some of it is not known, or too old"
    assert (replayed.rows, replayed.versions) == (questions.height, {"7"})


def test_a_request_asks_as_of_its_hour_with_all_that_the_model_takes(env: StageEnv, tmp_path: Path) -> None:
    asked = Asked(env)
    replay(world(env, tmp_path), FIRST, FIRST, asked)
    moments = [request["parameters"]["event_timestamp"] for request in asked.requests]
    assert moments == sorted(moments)
    kinds = {tensor["name"]: tensor["datatype"] for tensor in asked.requests[0]["inputs"]}
    assert kinds == {
        "origin": "BYTES", "dest": "BYTES", "carrier": "BYTES", "hour": "INT64",
        "minute_of_day": "FP64", "weekday": "FP64", "distance": "FP64",
    }  # fmt: skip


def test_afterwards_the_online_store_has_the_newest_of_everything(env: StageEnv, tmp_path: Path) -> None:
    """As the features stages had left it."""
    replay(world(env, tmp_path), FIRST, FIRST, Asked(env))
    files = feature_rows_of(env.store, "flight_delay", "weather")
    newest = files.rows(sorted(files.known_days()))["event_timestamp"].max()
    asked = Asked(env)
    question = {"origin": ["EWR"], "dest": ["IAH"], "carrier": ["UA"], "hour": [12]}
    assert isinstance(newest, datetime)
    values = asyncio.run(asked._read(question, newest))
    assert not np.isnan(values[0, [name == "wind_speed" for _, name in asked.columns]]).any()


def test_going_back_forgets_what_was_materialized_and_nothing_of_others(
    env: StageEnv, tmp_path: Path
) -> None:
    online = OnlineStore(world(env, tmp_path))
    with redis.Redis.from_url(env.settings.online_store) as client:
        client.set(b"of flight_delay_2", b"another lifecycle's")
        client.hset(b"entity" + b"flight_delay", b"_ts:weather", b"from the future")
        online.forget()
        assert client.keys(b"*flight_delay") == []
        assert client.get(b"of flight_delay_2") == b"another lifecycle's"

"""Against a real SQLite file, and a real Redis where the machine has one."""

from __future__ import annotations

import dataclasses
from contextlib import closing
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
import redis
from serving_process import free_port
from synthetic_flights import DAYS, change, get_frame, make_env, run_features, run_stage

from windtunnel.errors import DataError, PermanentError, SpecError, StoreError
from windtunnel.features.definitions import load_definitions
from windtunnel.features.engines import AsofEngine
from windtunnel.features.feature_store import online_store_config, open_feature_store

if TYPE_CHECKING:
    from pathlib import Path

    from windtunnel.stages.base import StageEnv, StageResult


@pytest.fixture(params=["sqlite", "redis"])
def env(request: pytest.FixtureRequest, tmp_path: Path) -> StageEnv:
    online = ""
    if request.param == "redis":
        port = request.getfixturevalue("redis_port")
        with closing(redis.Redis(port=port)) as client:
            client.flushall()
        online = f"redis://127.0.0.1:{port}/0"
    env = make_env(tmp_path, online=online, days=DAYS[:4])
    run_features(env, DAYS[0], DAYS[3])
    return env


def materialize(
    env: StageEnv, first: int = 0, last: int = 3, view: str = "route", **params: Any
) -> StageResult:
    return run_stage(env, "materialize", view=view, start=DAYS[first], end=DAYS[last], **params)


def online(env: StageEnv, view: str = "route") -> dict[tuple[Any, ...], float | None]:
    """What Feast itself reads: the view's first feature by key."""
    definitions = load_definitions(env.directory, env.lifecycle)
    store = open_feature_store(
        definitions, env.lifecycle.name, {}, env.work, AsofEngine(), online_store_config(env.settings)
    )
    keys, feature = list(definitions.views[view].join_keys), next(iter(definitions.views[view].features))
    rows = pl.concat(
        get_frame(env, f"flight_delay/features/{view}/{day}.parquet").select(keys) for day in DAYS[:4]
    ).unique()
    answer = store.get_online_features([f"{view}:{feature}"], rows.to_dicts()).to_dict()
    return dict(zip(rows.rows(), answer[feature], strict=True))


def newest(env: StageEnv, view: str = "route") -> dict[tuple[Any, ...], float | None]:
    rows = pl.concat(get_frame(env, f"flight_delay/features/{view}/{day}.parquet") for day in DAYS[:4])
    keys, feature = (["origin", "dest"], "route_late_14d") if view == "route" else (["origin"], "wind_speed")
    last = rows.sort("event_timestamp").group_by(keys, maintain_order=True).last()
    return dict(zip(last.select(keys).rows(), last[feature], strict=True))


@pytest.mark.parametrize("view", ["route", "weather"])
def test_every_key_has_its_newest_feature_row(env: StageEnv, view: str) -> None:
    result = materialize(env, view=view)
    assert online(env, view) == newest(env, view=view)
    assert result.facts["rows"] == len(newest(env, view=view))
    reference = result.outputs["online"]
    assert (reference.uri, reference.meta["end"]) == (f"windtunnel://flight_delay/{view}", str(DAYS[3]))
    facts = result.facts
    assert (facts["skipped"], facts["bytes"] > 0, facts["newest_event"][:10]) == (0, True, str(DAYS[4]))


def test_the_same_again_is_found(env: StageEnv) -> None:
    first = materialize(env)
    again = materialize(env)
    assert (again.cached, again.outputs) == (True, first.outputs)


def test_views_do_not_disturb_each_other(env: StageEnv) -> None:
    materialize(env)
    materialize(env, view="carrier")
    assert materialize(env).cached


def test_an_emptied_online_store_is_filled_again(env: StageEnv) -> None:
    materialize(env)
    if env.settings.online_store.startswith("redis"):
        with closing(redis.Redis.from_url(env.settings.online_store)) as client:
            client.flushall()
    else:
        (env.work.parent / "online.db").unlink()
    result = materialize(env)
    assert not result.cached
    assert online(env) == newest(env)


def test_a_backfill_never_puts_an_old_value_over_a_newer_one(env: StageEnv) -> None:
    materialize(env)
    result = materialize(env, 0, 1)
    assert (result.facts["rows"], result.facts["skipped"] > 0) == (0, True)
    assert online(env) == newest(env)


def test_a_later_slice_leaves_keys_without_news_alone(env: StageEnv) -> None:
    materialize(env, 0, 1)
    assert online(env) != newest(env)
    materialize(env, 2, 3)
    assert online(env) == newest(env)


def test_a_corrected_day_replaces_what_it_gave_before(env: StageEnv) -> None:
    """Its feature rows have the event timestamps that the online store already has."""
    materialize(env)
    before = newest(env)
    change(
        env, f"sources/flights/{DAYS[3]}.parquet", lambda frame: frame.with_columns(pl.col("arr_delay") + 60)
    )
    run_features(env, DAYS[0], DAYS[3])
    materialize(env)
    assert newest(env) != before
    assert online(env) == newest(env)


def test_a_view_without_feature_rows_is_refused(tmp_path: Path) -> None:
    env = make_env(tmp_path, days=DAYS[:1])
    with pytest.raises(DataError, match=r"view 'route' has no feature rows for .*run transform"):
        materialize(env)


def test_an_unknown_view_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="no view 'rout'"):
        materialize(make_env(tmp_path, days=[]), view="rout")


def test_an_online_store_that_is_away_may_come_back(tmp_path: Path) -> None:
    env = make_env(tmp_path, online=f"redis://127.0.0.1:{free_port()}/0", days=DAYS[:1])
    run_features(env, DAYS[0], DAYS[0])
    with pytest.raises(StoreError, match=r"online store failed: .*refused"):
        materialize(env, 0, 0)


def test_the_password_opens_the_store_and_is_never_said(
    tmp_path: Path, redis_port: int, caplog: pytest.LogCaptureFixture
) -> None:
    secret = 'p,"w=1 %#'
    env = make_env(tmp_path, online=f"redis://127.0.0.1:{redis_port}/1", password=secret, days=DAYS[:1])
    run_features(env, DAYS[0], DAYS[0])
    with closing(redis.Redis(port=redis_port)) as client:
        client.config_set("requirepass", secret)
    try:
        materialize(env, 0, 0)
        wrong = dataclasses.replace(
            env, settings=dataclasses.replace(env.settings, online_store_password="no")
        )
        with pytest.raises(PermanentError, match=r"refused.*WINDTUNNEL_ONLINE_STORE_PASSWORD") as caught:
            materialize(wrong, 0, 0)
    finally:
        with closing(redis.Redis(port=redis_port, password=secret)) as client:
            client.config_set("requirepass", "")
    assert secret not in caplog.text
    assert "no" not in str(caught.value).split()


@pytest.mark.parametrize("url", ["", "memcached://host", "redis://", "sqlite://"])
def test_something_that_is_no_online_store_is_refused(tmp_path: Path, url: str) -> None:
    env = make_env(tmp_path, days=[])
    with pytest.raises(PermanentError, match=r"no online store.*redis://host:port/db"):
        online_store_config(dataclasses.replace(env.settings, online_store=url))

"""publish, after materialize, on a real SQLite online store."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from synthetic_flights import DAYS, edit, get_frame, make_env, reloaded, run_features, run_stage

from windtunnel.errors import DataError
from windtunnel.features.daily import feature_rows_of
from windtunnel.features.freshness import read_freshness

if TYPE_CHECKING:
    from pathlib import Path

    from windtunnel.stages.base import StageEnv, StageResult

VIEWS = ["route", "carrier", "airport_hour", "weather"]


@pytest.fixture
def env(tmp_path: Path) -> StageEnv:
    env = make_env(tmp_path, days=DAYS[:4])
    edit(
        env.directory / "lifecycle.yaml",
        {"    lookbackDays": "    freshness: {route: 26h}\n    lookbackDays"},
    )
    env = reloaded(env)
    run_features(env, DAYS[0], DAYS[3])
    return env


def fill(env: StageEnv, first: int, last: int) -> None:
    for view in VIEWS:
        run_stage(env, "materialize", view=view, start=DAYS[first], end=DAYS[last])


def publish(env: StageEnv, first: int = 0, last: int = 3) -> StageResult:
    return run_stage(env, "publish", start=DAYS[first], end=DAYS[last])


def test_the_registry_has_places_that_everybody_can_read_and_what_was_filled(env: StageEnv) -> None:
    from feast.protos.feast.core.Registry_pb2 import Registry

    fill(env, 0, 1)
    fill(env, 2, 3)
    publish(env)
    registry = Registry.FromString(env.store.get("flight_delay/registry.pb"))
    places = {view.spec.name: view.spec.batch_source.file_options.uri for view in registry.feature_views}
    assert places["route"] == f"{env.settings.store}/flight_delay/features/route/*.parquet"
    assert sorted(places) == sorted(VIEWS)
    (interval,) = registry.feature_views[0].meta.materialization_intervals
    midnight = datetime.combine(DAYS[0], datetime.min.time(), UTC)
    assert interval.start_time.ToDatetime(UTC) == midnight
    assert interval.end_time.ToDatetime(UTC) == midnight + timedelta(days=4)


def test_every_view_says_how_fresh_it_is(env: StageEnv) -> None:
    fill(env, 0, 3)
    facts = publish(env).facts
    assert list(facts["views"]) == VIEWS
    route = facts["views"]["route"]
    assert (route["rows"] > 0, route["bytes"] > 0, route["objective_seconds"]) == (True, True, 26 * 3600)
    assert route["stale"], "the data are of 2013"
    assert not facts["views"]["weather"]["stale"], "no objective is never missed"
    found = read_freshness(env.store, "flight_delay")
    newest = found["route"].newest_event
    assert newest == datetime.fromisoformat(route["newest_event"])
    assert newest
    at = newest + timedelta(hours=26)
    assert not any(view.is_stale(at) for view in found.values())
    late = at + timedelta(seconds=1)
    assert [name for name, view in found.items() if view.is_stale(late)] == ["route"]


def test_a_backfill_is_no_news_and_takes_nothing_back(env: StageEnv) -> None:
    fill(env, 2, 3)
    assert publish(env, 2, 3).facts["news"]
    before = read_freshness(env.store, "flight_delay")["route"]
    fill(env, 0, 1)
    for _ in range(2):
        assert not publish(env, 0, 1).facts["news"]
    after = read_freshness(env.store, "flight_delay")["route"]
    assert (after.end, after.newest_event) == (before.end, before.newest_event)
    assert publish(env, 2, 3).facts["news"], "the same days again, corrected perhaps"


def test_a_day_of_a_slice_that_is_written_again_does_not_make_its_view_older(env: StageEnv) -> None:
    fill(env, 0, 3)
    publish(env)
    before = read_freshness(env.store, "flight_delay")["route"].newest_event
    run_stage(env, "materialize", view="route", start=DAYS[1], end=DAYS[1])
    publish(env, 1, 1)
    assert read_freshness(env.store, "flight_delay")["route"].newest_event == before


def test_what_the_online_store_lost_is_not_published(env: StageEnv) -> None:
    fill(env, 0, 3)
    publish(env)
    published = env.store.get("flight_delay/registry.pb")
    (env.work.parent / "online.db").unlink()
    for view in VIEWS[:-1]:
        run_stage(env, "materialize", view=view, start=DAYS[0], end=DAYS[3])
    run_stage(env, "materialize", view="weather", start=DAYS[1], end=DAYS[1])
    lost = f"{DAYS[0]}, {DAYS[2]}..{DAYS[3]}"
    with pytest.raises(DataError, match=f"'weather' is not filled for {lost}: the online store .*from_stage"):
        publish(env)
    assert env.store.get("flight_delay/registry.pb") == published
    assert publish(env, 1, 1).facts["views"]["weather"]["rows"] == 3


def test_a_view_without_any_row_has_no_newest_event(env: StageEnv) -> None:
    rows = feature_rows_of(env.store, "flight_delay", "route")
    for day in DAYS[:4]:
        rows.write(day, get_frame(env, rows.key(day)).clear(), "sha256:test")
    fill(env, 0, 3)
    facts = publish(env).facts["views"]["route"]
    assert (facts["newest_event"], facts["age_seconds"], facts["stale"]) == (None, None, True)
    assert read_freshness(env.store, "flight_delay")["route"].is_stale(datetime.now(UTC))

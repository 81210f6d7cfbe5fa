from __future__ import annotations

import sys
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from synthetic_flights import DAYS, edit, get_frame, make_env, reloaded, run_stage

from windtunnel.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    import polars as pl

    from windtunnel.stages.base import StageEnv, StageResult


@pytest.fixture
def env(tmp_path: Path) -> StageEnv:
    env = make_env(tmp_path, days=DAYS[:4])
    run_stage(env, "extract", start=DAYS[0], end=DAYS[3])
    return env


CREATED = 'created=pl.lit({}).dt.convert_time_zone("UTC").dt.cast_time_unit("us")'
HISTORY = 'event_timestamp=pl.lit(known).dt.convert_time_zone("UTC").dt.cast_time_unit("us")'


def transform(env: StageEnv, first: int = 0, last: int = 3, **params: object) -> StageResult:
    return run_stage(env, "transform", start=DAYS[first], end=DAYS[last], **params)


def route(env: StageEnv, day: int) -> pl.DataFrame:
    return get_frame(env, f"flight_delay/features/route/{DAYS[day]}.parquet")


def test_every_view_gets_a_file_per_day(env: StageEnv) -> None:
    result = transform(env)
    assert result.facts == {"days": 4, "unchanged": 0, "short_lookback": 4}
    rows = route(env, 3)
    assert rows.columns == [
        "origin",
        "dest",
        "route_late_14d",
        "route_delay_14d",
        "event_timestamp",
        "created",
    ]
    assert rows["created"].equals(rows["event_timestamp"].alias("created"))
    assert set(result.outputs["features"].meta["rows"]) == {"route", "carrier", "airport_hour", "weather"}


def test_a_slice_sees_the_days_before_it_and_none_after(env: StageEnv) -> None:
    transform(env)
    whole = {day: route(env, day) for day in range(4)}
    transform(env, first=2, last=2, force=True)
    assert route(env, 2).equals(whole[2])


def test_the_same_again_is_found(env: StageEnv) -> None:
    first = transform(env)
    again = transform(env)
    assert (again.cached, again.outputs) == (True, first.outputs)


def test_forced_work_gives_the_same_bytes(env: StageEnv) -> None:
    first = transform(env)
    assert transform(env, force=True).outputs == first.outputs


def test_only_days_that_see_a_changed_partition_are_done_again(env: StageEnv) -> None:
    transform(env)
    raw = f"sources/flights/{DAYS[2]}.parquet"
    env.store.put(raw, env.store.get(f"sources/flights/{DAYS[3]}.parquet"))
    run_stage(env, "extract", start=DAYS[0], end=DAYS[3])
    assert transform(env).facts["unchanged"] == 2


def test_days_are_done_again_by_another_function_of_the_same_file(env: StageEnv) -> None:
    other = (
        "def empty(*given):\n    return {name: rows.clear() for name, rows in transform(*given).items()}\n"
    )
    edit_features(env, {"\ndef entity_rows(": f"\n{other}\n\ndef entity_rows("})
    transform(env)
    edit(env.directory / "lifecycle.yaml", {"features:transform": "features:empty"})
    assert transform(reloaded(env)).facts["unchanged"] == 0
    assert route(env, 3).is_empty()


def test_every_day_is_done_again_with_other_libraries(env: StageEnv, monkeypatch: pytest.MonkeyPatch) -> None:
    transform(env)
    for module in ("base", "transform"):
        name = f"windtunnel.stages.{module}.libraries_digest"
        monkeypatch.setattr(name, lambda: "sha256:another", raising=False)
    assert transform(env).facts["unchanged"] == 0


def test_days_that_were_not_extracted_are_named(env: StageEnv) -> None:
    with pytest.raises(DataError, match=rf"no clean partition for {DAYS[4]}\.\.{DAYS[5]}.*run extract"):
        run_stage(env, "transform", start=DAYS[3], end=DAYS[5])


def test_a_day_in_quarantine_has_no_rows_of_its_own(env: StageEnv) -> None:
    env.store.put(f"sources/weather/{DAYS[3]}.parquet", b"torn")
    run_stage(env, "extract", start=DAYS[0], end=DAYS[3])
    transform(env)
    assert get_frame(env, f"flight_delay/features/weather/{DAYS[3]}.parquet").is_empty()
    assert not route(env, 3).is_empty()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({'"route": history(': '"rout": history('}, "view 'rout' .*did you mean 'route'"),
        (
            {"route_delay_14d=pl.col": "route_dely_14d=pl.col"},
            "no column 'route_delay_14d'; it has 'route_dely_14d'",
        ),
        ({'.dt.convert_time_zone("UTC")': ""}, r"'event_timestamp' is Datetime.*America/New_York"),
        ({"day + timedelta(days=1), time(6)": "day - timedelta(days=2), time(6)"}, "before its day began"),
        ({"day + timedelta(days=1), time(6)": "day + timedelta(days=9), time(6)"}, "days later"),
        (
            {'["origin", "dest"], route_late': '["origin", "dest", "carrier"], route_late'},
            "share key and event",
        ),
        (
            {HISTORY: HISTORY + ", " + CREATED.format("known - timedelta(seconds=1)")},
            "was created at 2013-03-06 10:59:59.*before its event_timestamp 2013-03-06 11:00",
        ),
        (
            {HISTORY: HISTORY + ", " + CREATED.format("known + timedelta(days=36525)")},
            "was created at 2113-03-.*still to come",
        ),
        ({HISTORY: HISTORY + ", created=pl.lit(known)"}, "'created' is Datetime.*New_York"),
        (
            {'route_delay_14d=pl.col("delay").mean()': 'route_delay_14d=pl.col("delay").len() / 0.0'},
            r"'route_delay_14d' is infinite in \d+ rows; look for a division by zero",
        ),
    ],
    ids=[
        "unknown view",
        "missing feature",
        "time zone",
        "leak",
        "far future",
        "duplicates",
        "created before",
        "created tomorrow",
        "created elsewhere",
        "infinite",
    ],
)
def test_what_the_users_code_gets_wrong_is_said(env: StageEnv, change: dict[str, str], message: str) -> None:
    edit_features(env, change)
    with pytest.raises(DataError, match=message) as caught:
        transform(env)
    assert "features:transform" in caught.value.where
    assert not env.store.exists(f"flight_delay/features/route/{DAYS[0]}.parquet")


def test_an_exception_in_the_users_code_passes_through(env: StageEnv) -> None:
    edit_features(env, {"    usual = flights": "    1 / 0\n    usual = flights"})
    with pytest.raises(ZeroDivisionError):
        transform(env)


def test_a_row_says_when_it_became_known(env: StageEnv) -> None:
    """Of two rows for one key and moment the second is a late correction; null is: known at once."""
    corrected = """\
        rows = rows.with_columns(
            event_timestamp=pl.lit(known).dt.convert_time_zone("UTC").dt.cast_time_unit("us")
        )
        late = pl.col("event_timestamp") + pl.duration(days=9)
        no = pl.lit(None, pl.Datetime("us", "UTC"))
        return pl.concat([rows.with_columns(created=late), rows.with_columns(created=no)])
"""
    before = "        return rows.with_columns(\n            " + HISTORY + "\n        )\n"
    edit_features(env, {before: corrected})
    transform(env)
    rows = route(env, 3)
    first, second = rows[0], rows[1]
    assert first.drop("created").equals(second.drop("created"))
    lag = second["created"] - first["event_timestamp"]
    assert (first["created"].to_list(), lag.to_list()) == (first["event_timestamp"].to_list(), [timedelta(9)])


def test_no_created_at_all_is_known_at_once(env: StageEnv) -> None:
    edit_features(env, {HISTORY: HISTORY + ", created=pl.lit(None)"})
    transform(env)
    rows = route(env, 3)
    assert rows["created"].equals(rows["event_timestamp"].alias("created"))


def test_a_moment_is_kept_in_whole_seconds_as_the_online_store_does(env: StageEnv) -> None:
    over = 'event_timestamp=pl.col("time_hour") + pl.duration(hours=1)'
    edit_features(
        env,
        {
            "import Float64": "import Float64, UnixTimestamp",
            "dtype=Float64)": "dtype=UnixTimestamp if feature == 'visib' else Float64)",
            over: over + ', ).with_columns(visib=pl.col("event_timestamp") - pl.duration(milliseconds=1)',
        },
    )
    transform(env)
    rows = get_frame(env, f"flight_delay/features/weather/{DAYS[0]}.parquet")
    assert (rows["event_timestamp"] - rows["visib"]).unique().to_list() == [timedelta(seconds=1)]


def edit_features(env: StageEnv, change: dict[str, str]) -> None:
    edit(env.directory / "features.py", change)
    sys.modules.pop("features", None)  # the next stage is another process

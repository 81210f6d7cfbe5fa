"""What the platform puts around the join: which files are read, when a row became known, numbers."""

from __future__ import annotations

import dataclasses
import sys
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

import polars as pl
import pytest
from synthetic_flights import edit, make_env

from windtunnel.errors import DataError
from windtunnel.features.daily import feature_rows_of
from windtunnel.features.definitions import load_definitions
from windtunnel.features.feature_rows import check_feature_rows
from windtunnel.features.point_in_time import feature_files, point_in_time

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from windtunnel.stages.base import StageEnv

DAY = date(2026, 3, 2)
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
TYPES = "Int64, Bool, Float64, UnixTimestamp"
FIELDS = (
    "[Field(name=n, dtype=t) for n, t in zip(WEATHER, (Int64, Bool, Float64, UnixTimestamp), strict=True)]"
)
Given = tuple[datetime, datetime | None, int | None]
"""Event timestamp, created, value."""


@pytest.fixture
def env(tmp_path: Path) -> StageEnv:
    """A service that reads the view `weather` alone: a number of every kind, for six hours."""
    env = make_env(tmp_path, days=[])
    edit(
        env.directory / "features.py",
        {
            "import Float64": f"import {TYPES}",
            "schema = [Field(name=feature, dtype=Float64) for feature in features]": (
                f"schema = {FIELDS} if name == 'weather' else "
                "[Field(name=feature, dtype=Float64) for feature in features]"
            ),
            "features=views)": "features=views[-1:])",
        },
    )
    sys.modules.pop("features", None)
    return env


def write(env: StageEnv, day: date, rows: Sequence[Given], ratio: float | None = 0.5) -> None:
    """As `transform` would return them, checked and written."""
    moments = pl.Datetime("us", "UTC")
    frame = pl.DataFrame(
        {
            "origin": ["EWR"] * len(rows),
            "wind_speed": pl.Series([value for _, _, value in rows], dtype=pl.Int64),
            "wind_gust": [bool(value) for _, _, value in rows],
            "precip": pl.Series([ratio] * len(rows), dtype=pl.Float64),
            "visib": pl.Series([when for when, _, _ in rows], dtype=moments),
            "event_timestamp": pl.Series([when for when, _, _ in rows], dtype=moments),
            "created": pl.Series([created for _, created, _ in rows], dtype=moments),
        }
    )
    definitions = load_definitions(env.directory, env.lifecycle)
    alone = dataclasses.replace(definitions, views={"weather": definitions.views["weather"]})
    checked = check_feature_rows({"weather": frame}, day, alone, "transform")
    feature_rows_of(env.store, "flight_delay", "weather").write(day, checked["weather"], "sha256:test")


def ask(env: StageEnv, *moments: datetime, origin: str = "EWR") -> pl.DataFrame:
    rows = pl.DataFrame(
        {
            "origin": [origin] * len(moments),
            "event_timestamp": pl.Series(moments, dtype=pl.Datetime("us", "UTC")),
            "asked": range(len(moments)),
        }
    )
    answer = point_in_time(env, rows)
    assert answer.select(rows.columns).equals(rows)
    return answer


def hours(count: float) -> timedelta:
    return timedelta(hours=count)


def test_a_late_correction_does_not_reach_back(env: StageEnv) -> None:
    """The correction says the same moment, but became known two hours later."""
    write(env, DAY, [(NOON, None, 1), (NOON, NOON + hours(2), 2)])
    answer = ask(env, NOON, NOON + hours(2) - timedelta(microseconds=1), NOON + hours(2))
    assert answer["wind_speed"].to_list() == [1.0, 1.0, 2.0]


def test_a_correction_without_a_value_takes_the_value_away(env: StageEnv) -> None:
    write(env, DAY, [(NOON, None, 1), (NOON, NOON + hours(2), None)])
    assert ask(env, NOON + hours(3))["wind_speed"].to_list() == [None]


def test_numbers_of_every_kind_are_what_serving_reads(env: StageEnv) -> None:
    write(env, DAY, [(NOON + timedelta(milliseconds=1700), None, 2**53 + 1)])
    answer = ask(env, NOON + hours(1)).row(0, named=True)
    # Whole seconds; an integer beyond 2**53 is the nearest number that there is.
    expected = {"wind_speed": 2.0**53, "wind_gust": 1.0, "precip": 0.5, "visib": NOON.timestamp() + 1}
    assert {name: answer[name] for name in expected} == expected


def test_nan_is_no_value(env: StageEnv) -> None:
    write(env, DAY, [(NOON, None, 1)], ratio=float("nan"))
    assert ask(env, NOON)["precip"].to_list() == [None]


def test_equal_questions_get_equal_answers_in_their_order(env: StageEnv) -> None:
    write(env, DAY, [(NOON, None, 1), (NOON + hours(1), None, 2)])
    asked = [NOON + hours(2), NOON - hours(1), NOON, NOON + hours(2), NOON, NOON + hours(99)]
    answer = ask(env, *asked, NOON + hours(7), NOON + hours(7) + timedelta(microseconds=1))
    assert answer["wind_speed"].to_list() == [2.0, None, 1.0, 2.0, 1.0, None, 2.0, None]


def test_an_unknown_key_has_no_features_and_no_question_has_no_answer(env: StageEnv) -> None:
    write(env, DAY, [(NOON, None, 1)])
    assert ask(env, NOON, origin="XXX")["wind_speed"].to_list() == [None]
    assert ask(env).columns[-4:] == ["wind_speed", "wind_gust", "precip", "visib"]


def test_only_days_that_may_answer_are_read(env: StageEnv) -> None:
    for count in range(-20, 20):
        write(env, DAY + timedelta(days=count), [(NOON + timedelta(days=count), None, count)])
    days = sorted(feature_files(env, DAY, DAY)["weather"])
    assert days == [DAY + timedelta(days=count) for count in range(-3, 2)]
    assert ask(env, NOON)["wind_speed"].to_list() == [0.0]


def test_without_a_day_that_may_answer_it_says_what_to_run(env: StageEnv) -> None:
    write(env, DAY, [(NOON, None, 1)])
    with pytest.raises(
        DataError, match=r"view 'weather' has no feature rows for 2026-04-02; run the features"
    ):
        ask(env, NOON + timedelta(days=31))


def test_a_day_that_is_written_anew_while_it_is_read_comes_in_its_new_form(
    env: StageEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    from windtunnel.features import staging

    write(env, DAY, [(NOON, None, 1)])
    real = staging.stage_feature_rows

    def stage(*args: object) -> object:
        write(env, DAY, [(NOON, None, 2)])
        return real(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(staging, "stage_feature_rows", stage)
    assert ask(env, NOON)["wind_speed"].to_list() == [2.0]

"""Slices in any order, again and again, killed in between: the online store ends with the newest row per key.

The oracle is a page of plain Python; the online store is read by Feast itself.
"""

from __future__ import annotations

import dataclasses
import json
import os
import random
import subprocess
import sys
from contextlib import closing
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from synthetic_flights import edit, make_env, run_stage

import windtunnel
from windtunnel.errors import TemporaryError
from windtunnel.features import engines, online_fill, staging
from windtunnel.features.daily import feature_rows_of
from windtunnel.features.definitions import load_definitions
from windtunnel.features.engines import AsofEngine
from windtunnel.features.feature_store import online_store_config, open_feature_store
from windtunnel.features.online.online_marker import open_markers
from windtunnel.stages.base import StageRequest

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from windtunnel.stages.base import StageEnv, StageResult

VIEW = "weather"
KEYS = ["EWR", "JFK", "LGA", "ORD"]
DAYS = [date(2026, 3, 1) + timedelta(days=count) for count in range(6)]
TTL = timedelta(days=3)
Row = tuple[str, datetime, float | None]
"""Key, event timestamp, value."""


@pytest.fixture(scope="module", params=["sqlite", "redis"])
def env(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> StageEnv:
    online = ""
    if request.param == "redis":
        online = f"redis://127.0.0.1:{request.getfixturevalue('redis_port')}/0"
    env = make_env(tmp_path_factory.mktemp("fill"), online=online, days=[])
    edit(env.directory / "features.py", {"timedelta(hours=6))": "timedelta(days=3))"})
    sys.modules.pop("features", None)
    return env


@pytest.fixture
def empty(env: StageEnv) -> StageEnv:
    """No feature rows, nothing in the online store."""
    clear(env)
    return env


def clear(env: StageEnv) -> None:
    for entry in env.store.list("flight_delay"):
        env.store.delete(entry.key)
    if env.settings.online_store.startswith("redis"):
        with closing(redis.Redis.from_url(env.settings.online_store)) as client:
            client.flushall()
    else:
        (env.work.parent / "online.db").unlink(missing_ok=True)


def write(env: StageEnv, day: date, rows: list[Row]) -> None:
    frame = pl.DataFrame(
        {
            "origin": [key for key, _, _ in rows],
            "wind_speed": [value for _, _, value in rows],
            "event_timestamp": [when for _, when, _ in rows],
        },
        schema={"origin": pl.String, "wind_speed": pl.Float64, "event_timestamp": pl.Datetime("us", "UTC")},
    )
    empty = {name: pl.lit(None, pl.Float64) for name in ("wind_gust", "precip", "visib")}
    frame = frame.with_columns(**empty, created="event_timestamp").sort("origin", "event_timestamp")
    feature_rows_of(env.store, "flight_delay", VIEW).write(day, frame, "sha256:test")


def fill(env: StageEnv, first: int, last: int) -> StageResult:
    return run_stage(env, "materialize", view=VIEW, start=DAYS[first], end=DAYS[last])


def online(env: StageEnv) -> dict[str, float | None]:
    definitions = load_definitions(env.directory, env.lifecycle)
    store = open_feature_store(
        definitions, env.lifecycle.name, {}, env.work, AsofEngine(), online_store_config(env.settings)
    )
    answer = store.get_online_features([f"{VIEW}:wind_speed"], [{"origin": key} for key in KEYS]).to_dict()
    return dict(zip(KEYS, answer["wind_speed"], strict=True))


def moment(day: int, hours: int) -> datetime:
    """Days never share a moment: of two that do, the one that is written last would win."""
    return datetime.combine(DAYS[day], time(minute=day), UTC) + timedelta(hours=hours)


def newest(rows: dict[int, list[Row]]) -> dict[str, float | None]:
    """Of the keys that are not past their ttl at the newest event of all."""
    every = [row for of_day in rows.values() for row in of_day]
    last = max((when for _, when, _ in every), default=datetime.min.replace(tzinfo=UTC))
    answer: dict[str, float | None] = {}
    for key, when, value in sorted(every, key=lambda row: row[1]):
        if when >= last - TTL:
            answer[key] = value
    return answer


def check(env: StageEnv, rows: dict[int, list[Row]]) -> None:
    found, expected = online(env), newest(rows)
    assert {key: found[key] for key in expected} == expected


VALUES = st.one_of(st.none(), st.integers(0, 10**6).map(float))


@st.composite
def histories(draw: st.DrawFn) -> dict[int, list[Row]]:
    rows = {}
    for day in range(len(DAYS)):
        asked = draw(st.sets(st.tuples(st.sampled_from(KEYS), st.integers(-13, 71)), max_size=8))
        rows[day] = [(key, moment(day, hours), draw(VALUES)) for key, hours in sorted(asked)]
    return rows


@st.composite
def slicings(draw: st.DrawFn) -> list[tuple[int, int]]:
    """The days in slices, in any order."""
    cuts = sorted(draw(st.sets(st.integers(1, len(DAYS) - 1), max_size=4)))
    parts = [(first, last - 1) for first, last in pairwise([0, *cuts, len(DAYS)])]
    return draw(st.permutations(parts))


@settings(
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(rows=histories(), first=slicings(), second=slicings(), data=st.data())
def test_any_order_of_slices_ends_with_the_newest_row_of_every_key(
    env: StageEnv, rows: dict[int, list[Row]], first: list[Any], second: list[Any], data: st.DataObject
) -> None:
    """Filled once, partly again in other slices, then after a correction of some days."""
    clear(env)
    for day, of_day in rows.items():
        write(env, DAYS[day], of_day)
    again = data.draw(st.lists(st.sampled_from(second), max_size=3))
    for part in [*first, *again]:
        fill(env, *part)
    check(env, rows)
    corrected = dict(rows)
    for day in data.draw(st.sets(st.integers(0, len(DAYS) - 1), max_size=2)):
        corrected[day] = [(key, when, data.draw(VALUES)) for key, when, _ in rows[day]]
        write(env, DAYS[day], corrected[day])
    for part in second:
        fill(env, *part)
    check(env, corrected)
    assert all(fill(env, *part).cached for part in second)


ROWS: dict[int, list[Row]] = {
    day: [(key, moment(day, hours), 100.0 * day + hours) for key in KEYS[: 4 - day % 2] for hours in (3, 20)]
    for day in range(len(DAYS))
}


def test_reversed_and_forward_give_the_same(empty: StageEnv) -> None:
    states = []
    for order in (range(6), reversed(range(6))):
        clear(empty)
        for day, rows in ROWS.items():
            write(empty, DAYS[day], rows)
        for day in order:
            fill(empty, day, day)
        states.append(online(empty))
    assert states[0] == states[1]
    check(empty, ROWS)


def test_what_is_past_its_ttl_already_is_not_written(empty: StageEnv) -> None:
    """Not even read, where its day is past it as a whole."""
    old, new = (KEYS[0], moment(0, 3), 1.0), (KEYS[1], moment(5, 71), 2.0)
    edge = (KEYS[2], moment(5, 71) - TTL, 3.0)
    write(empty, DAYS[0], [old])
    write(empty, DAYS[4], [edge])
    write(empty, DAYS[5], [new])
    fill(empty, 5, 5)
    assert fill(empty, 4, 4).facts["rows"] == 1
    result = fill(empty, 0, 0)
    assert (result.facts["rows"], result.facts["newest_event"]) == (0, None)
    assert online(empty) == {KEYS[0]: None, KEYS[1]: 2.0, KEYS[2]: 3.0, KEYS[3]: None}
    assert fill(empty, 0, 0).cached


def test_rows_that_are_dated_ahead_do_not_expire_those_of_today(empty: StageEnv) -> None:
    today = datetime.now(UTC).date()
    midnight = datetime.combine(today, time(), UTC)
    write(
        empty,
        today,
        [(KEYS[0], midnight + timedelta(hours=71), 1.0), (KEYS[1], midnight - timedelta(hours=13), 2.0)],
    )
    run_stage(empty, "materialize", view=VIEW, start=today, end=today)
    assert online(empty)[KEYS[1]] == 2.0


def test_groups_of_files_are_bounded_and_give_the_same(
    empty: StageEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    for day, rows in ROWS.items():
        write(empty, DAYS[day], rows)
    monkeypatch.setattr(online_fill, "GROUP_BYTES", 1)
    seen: list[int] = []
    real = staging.stage_feature_rows

    def stage(*args: Any) -> Any:
        seen.append(len(args[3]))
        return real(*args)

    monkeypatch.setattr(staging, "stage_feature_rows", stage)
    fill(empty, 0, 5)
    assert set(seen) <= {0, 1}
    check(empty, ROWS)


def test_no_rows_at_all_are_filled_too(empty: StageEnv) -> None:
    write(empty, DAYS[0], [])
    result = fill(empty, 0, 0)
    assert (result.facts["rows"], result.facts["newest_event"]) == (0, None)
    assert fill(empty, 0, 0).cached


def test_killed_at_any_line_and_run_again_it_ends_right(empty: StageEnv) -> None:
    for day, rows in ROWS.items():
        write(empty, DAYS[day], rows)
    changed = {day: [(k, when, (value or 0) + 0.5) for k, when, value in of] for day, of in ROWS.items()}
    lines = _count_lines(lambda: fill(empty, 0, 5))
    assert lines > 200
    for die_at in sorted(random.Random(4).sample(range(lines), 8)):
        clear(empty)
        for day, rows in ROWS.items():
            write(empty, DAYS[day], rows)
        fill(empty, 0, 5)
        for day, rows in changed.items():
            write(empty, DAYS[day], rows)
        with pytest.raises(_KilledError):
            _count_lines(lambda: fill(empty, 0, 5), die_at)
        fill(empty, 0, 5)
        check(empty, changed)
        assert fill(empty, 0, 5).cached


def test_rows_that_another_writes_meanwhile_are_not_believed(
    empty: StageEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(empty, DAYS[0], ROWS[0])
    real = engines.materialize_view

    def disturbed(*args: Any) -> Any:
        monkeypatch.setattr(engines, "materialize_view", real)
        write(empty, DAYS[0], [(KEYS[0], moment(0, 3), 9.0)])
        fill(dataclasses.replace(empty, work=empty.work.parent / "work2"), 0, 0)
        return real(*args)

    (empty.work.parent / "work2").mkdir(exist_ok=True)
    monkeypatch.setattr(engines, "materialize_view", disturbed)
    with pytest.raises(TemporaryError, match="another materialization"):
        fill(empty, 0, 0)
    assert open_markers(empty.settings, "flight_delay", VIEW).read().slices == {}
    fill(empty, 0, 0)
    assert online(empty)[KEYS[0]] == ROWS[0][1][2], "its newest event stands, whoever wrote it"


class _KilledError(BaseException):
    """As by a signal: nothing catches it."""


def _count_lines(call: Callable[[], object], die_at: int | None = None) -> int:
    """Lines of the platform's code that the call goes through; it dies at one of them."""
    package = str(windtunnel.__file__).rpartition("/")[0]
    count = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal count
        if not frame.f_code.co_filename.startswith(package):
            return None
        if event == "line":
            count += 1
            if count == die_at:
                raise _KilledError
        return trace

    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(None)
    return count


# A SQLite file is a laptop's, where stages run one after the other.
@pytest.mark.parametrize("env", ["redis"], indirect=True)
def test_two_slices_in_two_processes_and_one_that_is_killed(empty: StageEnv, tmp_path: Path) -> None:
    """As pods do it: at the same time, one of them killed in the middle and tried again."""
    for day, rows in ROWS.items():
        write(empty, DAYS[day], rows)
    first, second = (_start(empty, tmp_path / f"{part}.json", *part) for part in ((0, 2), (3, 5)))
    claims = open_markers(empty.settings, "flight_delay", VIEW)
    deadline = monotonic() + 60
    with closing(redis.Redis.from_url(empty.settings.online_store)) as client:
        while not client.exists("windtunnel:materialized:flight_delay:" + VIEW) and monotonic() < deadline:
            sleep(0.01)
    first.kill()
    assert (first.wait(60), second.wait(60)) == (-9, 0)
    assert list(claims.read().slices) == [(DAYS[3], DAYS[5])]
    assert _start(empty, tmp_path / "again.json", 0, 2).wait(60) == 0
    check(empty, ROWS)
    assert sorted(claims.read().slices) == [(DAYS[0], DAYS[2]), (DAYS[3], DAYS[5])]


def _start(env: StageEnv, request: Path, first: int, last: int) -> subprocess.Popen[bytes]:
    params = {"view": VIEW, "start": str(DAYS[first]), "end": str(DAYS[last])}
    asked = StageRequest("flight_delay", "materialize", "run", params=params)
    request.write_text(json.dumps(asked.to_json()))
    command = [sys.executable, "-m", "windtunnel.stages", "materialize", "--request", str(request)]
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(str(windtunnel.__file__)).parents[1]),
        "WINDTUNNEL_STORE": env.settings.store,
        "WINDTUNNEL_LIFECYCLES": str(env.settings.lifecycles),
        "WINDTUNNEL_ONLINE_STORE": env.settings.online_store,
    }
    return subprocess.Popen(
        [*command, "--result", f"{request}.result"], env=environment, stderr=subprocess.DEVNULL
    )

"""Markers on a real SQLite file and a real Redis."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
import redis

from windtunnel.errors import TemporaryError
from windtunnel.features.online.online_marker import Marker, Materialized, open_markers
from windtunnel.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

    from windtunnel.features.online.online_marker import Markers, Slice


@pytest.fixture(params=["sqlite", "redis"])
def markers(request: pytest.FixtureRequest, tmp_path: Path) -> Markers:
    url = f"sqlite://{tmp_path}/online.db"
    if request.param == "redis":
        port = request.getfixturevalue("redis_port")
        with closing(redis.Redis(port=port)) as client:
            client.flushall()
        url = f"redis://127.0.0.1:{port}/0"
    return open_markers(Settings(store="", online_store=url), "demo", "customer")


def days(first: int, last: int) -> Slice:
    return date(2026, 1, first), date(2026, 1, last)


NOON = datetime(2026, 1, 5, 12, 0, 0, 250, tzinfo=UTC)
ONE, TWO = Marker("sha256:1", NOON, 5, 700, 1.5), Marker("sha256:2", None)


def fill(markers: Markers, part: Slice, marker: Marker) -> None:
    markers.begin(part, marker.digest)
    markers.end(part, marker.digest, marker)


def test_a_slice_that_was_filled_has_its_marker(markers: Markers) -> None:
    assert markers.read() == Materialized(None, {})
    fill(markers, days(1, 5), ONE)
    fill(markers, days(6, 9), TWO)
    assert markers.read() == Materialized(NOON, {days(1, 5): ONE, days(6, 9): TWO})


def test_the_file_lies_where_it_is_said_to_whatever_its_directory_is_called(tmp_path: Path) -> None:
    directory = tmp_path / "C#"
    directory.mkdir()
    open_markers(
        Settings(store="", online_store=f"sqlite://{directory}/online.db"), "demo", "customer"
    ).read()
    assert [path.name for path in tmp_path.rglob("*")] == ["C#", "online.db"]


def test_a_slice_that_was_not_finished_has_none(markers: Markers) -> None:
    fill(markers, days(1, 5), ONE)
    markers.begin(days(1, 5), "sha256:3")
    assert markers.read() == Materialized(NOON, {})


@pytest.mark.parametrize("part", [days(1, 1), days(5, 9), days(3, 4), days(1, 9)])
def test_what_overlaps_loses_its_marker_and_the_newest_event_stays(markers: Markers, part: Slice) -> None:
    fill(markers, days(1, 5), ONE)
    fill(markers, days(10, 12), TWO)
    fill(markers, part, TWO)
    assert markers.read() == Materialized(NOON, {part: TWO, days(10, 12): TWO})


def test_of_two_that_write_the_same_days_from_other_rows_neither_is_believed(markers: Markers) -> None:
    markers.begin(days(1, 5), "sha256:1")
    markers.begin(days(4, 5), "sha256:2")
    for part, marker in ((days(1, 5), ONE), (days(4, 5), TWO)):
        with pytest.raises(TemporaryError, match="another materialization wrote into"):
            markers.end(part, marker.digest, marker)
    assert markers.read().slices == {}
    fill(markers, days(4, 5), TWO)
    assert markers.read().slices == {days(4, 5): TWO}


def test_two_that_write_the_same_rows_do_not_disturb_each_other(markers: Markers) -> None:
    for _ in range(2):
        markers.begin(days(1, 5), "sha256:1")
    for _ in range(2):
        markers.end(days(1, 5), "sha256:1", ONE)
    assert markers.read().slices == {days(1, 5): ONE}


def test_views_do_not_share_markers(markers: Markers, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    fill(markers, days(1, 5), ONE)
    settings = markers._settings  # type: ignore[attr-defined]
    assert open_markers(settings, "demo", "product").read().slices == {}
    assert open_markers(settings, "demo", "customer").read().slices == {days(1, 5): ONE}


def test_a_marker_of_an_older_version_is_replaced(redis_port: int) -> None:
    with closing(redis.Redis(port=redis_port)) as client:
        client.set("windtunnel:materialized:old:customer", '{"digest": "sha256:0", "end": "2026-01-05"}')
    settings = Settings(store="", online_store=f"redis://127.0.0.1:{redis_port}/0")
    markers = open_markers(settings, "old", "customer")
    assert markers.read() == Materialized(None, {})
    fill(markers, days(1, 5), ONE)
    assert markers.read().slices == {days(1, 5): ONE}


def test_slices_that_follow_each_other_are_one_interval() -> None:
    filled = Materialized(None, {days(6, 9): TWO, days(1, 5): ONE, days(20, 20): TWO})
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    assert filled.intervals() == [
        (begin, begin + timedelta(days=9)),
        (begin + timedelta(days=19), begin + timedelta(days=20)),
    ]

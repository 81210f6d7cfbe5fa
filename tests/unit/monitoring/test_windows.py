"""Which predictions a run looks at: by time, by count, as far back as labels come, and no more than fit."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from windtunnel.errors import RequestError
from windtunnel.monitoring import windows
from windtunnel.monitoring.windows import asked, back_to_labels, current, moments, read_window
from windtunnel.prediction_log.frames import schema
from windtunnel.prediction_log.ids import derived_id
from windtunnel.prediction_log.keys import SCORES, hour_folder
from windtunnel.spec import load_lifecycle

if TYPE_CHECKING:
    from pathlib import Path

    from windtunnel.objects import ObjectStore
    from windtunnel.spec.lifecycle import LifecycleSpec

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
DAY = timedelta(days=1)
OURS, THEIRS = "sha256:ours", "sha256:theirs"


@pytest.fixture
def spec(lifecycle_directory: Path) -> LifecycleSpec:
    return load_lifecycle(lifecycle_directory).spec


def by_count(spec: LifecycleSpec, rows: int) -> LifecycleSpec:
    return spec.model_copy(update={"monitoring": spec.monitoring.model_copy(update={"rows": rows})})


def put(
    store: ObjectStore, moment: datetime, rows: int, *, digest: str = OURS, name: str = "a", **told: Any
) -> None:
    """A file of the log with one row a second from `moment` on."""
    times = [moment + timedelta(seconds=number) for number in range(rows)]
    frame = pl.DataFrame(
        {
            "prediction_id": [derived_id(time, f"{name}{digest}{time}".encode()) for time in times],
            "row": 0,
            "time": times,
            "version": "1",
            "digest": digest,
            "role": "champion",
            "key": None,
            "entities": None,
            "event_time": None,
            "features": [{"x": 1.0}] * rows,
            "missing": 0,
            "stale": None,
            "prediction": 0.5,
            "latency_seconds": 0.01,
            "writer": "test",
            **told,
        }
    ).cast(dict(schema(["x"], {})))
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    folder = SCORES if told.get("role") == "batch" else "predictions"
    store.put(f"{hour_folder('demo', moment, folder)}/{name}.parquet", buffer.getvalue())


def test_by_default_the_last_day_and_labels_as_far_back_as_they_come_late(spec: LifecycleSpec) -> None:
    window = asked({}, spec, NOW)
    assert (window.start, window.end) == (NOW - DAY, NOW)
    assert window.labels_start == NOW - DAY - 3 * DAY, "a day's delay, and two days for its partition"
    assert window.continues


def test_a_window_that_is_asked_for_is_taken_as_it_is(spec: LifecycleSpec) -> None:
    window = asked({"start": "2013-01-01", "end": "2013-01-02T00:00:00Z"}, by_count(spec, 10), NOW)
    assert window.start == window.labels_start == datetime(2013, 1, 1, tzinfo=UTC)
    assert window.end == datetime(2013, 1, 2, tzinfo=UTC)
    assert (window.rows, window.continues) == (None, False)


def test_only_an_end_is_a_window_in_a_row(spec: LifecycleSpec) -> None:
    window = asked({"end": "2026-03-10T12:00:00+01:00", "start": None}, spec, NOW)
    assert window.end == datetime(2026, 3, 10, 11, tzinfo=UTC)
    assert window.continues
    assert not asked({"version": "3"}, spec, NOW).continues
    old = asked({"end": "2013-02-01"}, spec, NOW)
    assert not old.continues, "a window of the past is none of those in a row"


def test_where_labels_are_later_than_promised_the_log_is_read_back_to_the_newest_that_are_whole(
    spec: LifecycleSpec,
) -> None:
    window = asked({}, spec, NOW)
    late = back_to_labels(window, date(2026, 2, 20))
    assert late.labels_start == datetime(2026, 2, 20, tzinfo=UTC) - DAY, "a window that ends with their day"
    assert replace(late, labels_start=window.labels_start) == window


@pytest.mark.parametrize("complete", [None, date(2026, 3, 8), date(2025, 11, 30), date(2023, 4, 2)])
def test_it_is_read_no_farther_for_labels_that_are_in_time_or_too_old_for_any_window(
    spec: LifecycleSpec, complete: date | None
) -> None:
    window = asked({}, spec, NOW)
    assert back_to_labels(window, complete) == window


def test_a_window_that_is_asked_for_is_read_alone_however_late_labels_are(spec: LifecycleSpec) -> None:
    window = asked({"start": "2026-03-09"}, spec, NOW)
    assert back_to_labels(window, date(2026, 2, 20)) == window


def test_a_window_never_ends_in_the_future(spec: LifecycleSpec) -> None:
    assert asked({"end": "2026-03-11"}, spec, NOW).end == NOW


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"start": "yesterday"}, "not a moment"),
        ({"start": "2026-03-10", "end": "2026-03-10"}, "before it begins"),
        ({"folder": "shadows"}, "no log 'shadows'"),
    ],
)
def test_what_makes_no_window_is_refused(spec: LifecycleSpec, params: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        asked(params, spec, NOW)


def test_rows_are_read_by_bundle_without_those_that_went_to_nobody(
    store: ObjectStore, spec: LifecycleSpec
) -> None:
    put(store, NOW - timedelta(hours=1), 10)
    put(store, NOW - timedelta(hours=1), 10, name="shadows", role="shadow")
    put(store, NOW - timedelta(hours=2), 5, digest=THEIRS, name="b", role="challenger")
    put(store, NOW - 2 * DAY, 7)
    put(store, NOW - 9 * DAY, 3)
    window, logged = read_window(store, "demo", asked({}, spec, NOW), OURS)
    assert {name: rows.height for name, rows in logged.frames.items()} == {OURS: 17, THEIRS: 5}
    assert current(logged.frames[OURS], window).height == 10
    assert logged.share == 1.0


def test_a_file_that_was_put_twice_counts_once(store: ObjectStore, spec: LifecycleSpec) -> None:
    put(store, NOW - timedelta(hours=1), 10)
    for entry in store.list("demo/predictions"):
        store.put(entry.key.replace("a.parquet", "b.parquet"), store.get(entry.key))
    _, logged = read_window(store, "demo", asked({}, spec, NOW), OURS)
    assert logged.frames[OURS].height == 10


def test_the_newest_rows_by_count_however_old_and_whoever_answered_between(
    store: ObjectStore, spec: LifecycleSpec
) -> None:
    put(store, NOW - timedelta(hours=1), 40, digest=THEIRS)
    put(store, NOW - 5 * DAY, 20)
    put(store, NOW - 30 * DAY, 20)
    put(store, NOW - 32 * DAY, 20)
    put(store, NOW - 60 * DAY, 20)
    window, logged = read_window(store, "demo", asked({}, by_count(spec, 30), NOW), OURS)
    assert window.start == NOW - 30 * DAY + timedelta(seconds=10)
    assert current(logged.frames[OURS], window).height == 30
    assert logged.frames[OURS].height == 60, "two days back for labels, but not a month"


def test_fewer_rows_than_asked_for_are_all_there_are(store: ObjectStore, spec: LifecycleSpec) -> None:
    put(store, NOW - 5 * DAY, 20)
    window, logged = read_window(store, "demo", asked({}, by_count(spec, 1000), NOW), OURS)
    assert current(logged.frames[OURS], window).height == 20
    _, nothing = read_window(store, "demo", asked({}, by_count(spec, 1000), NOW), THEIRS)
    assert THEIRS not in nothing.frames


def test_a_champion_without_rows_costs_no_reading_of_the_whole_log(
    store: ObjectStore, spec: LifecycleSpec
) -> None:
    put(store, NOW - timedelta(hours=1), 5, digest=THEIRS)
    put(store, NOW - 200 * DAY, 40)
    window, logged = read_window(store, "demo", asked({}, by_count(spec, 30), NOW), OURS)
    assert window.start == NOW - DAY, "as by time"
    assert set(logged.frames) == {THEIRS}


def test_batch_scores_are_a_log_of_their_own(store: ObjectStore, spec: LifecycleSpec) -> None:
    put(store, NOW - timedelta(hours=1), 4)
    put(store, NOW - timedelta(hours=1), 6, role="batch")
    _, logged = read_window(store, "demo", asked({"folder": SCORES}, spec, NOW), OURS)
    assert logged.frames[OURS].height == 6


def test_of_more_rows_than_fit_a_share_is_kept_by_id(
    store: ObjectStore, spec: LifecycleSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(windows, "MOST", 500)
    for hours in range(1, 5):
        put(store, NOW - timedelta(hours=hours), 1000, name=str(hours))
    _, logged = read_window(store, "demo", asked({}, spec, NOW), OURS)
    assert logged.share in (0.125, 0.0625)
    assert logged.frames[OURS].height == pytest.approx(4000 * logged.share, rel=0.3)
    assert logged.frames[OURS].height <= 500
    _, again = read_window(store, "demo", asked({}, spec, NOW), OURS)
    assert again.frames[OURS].equals(logged.frames[OURS]), "the same rows every time"


def test_a_row_is_about_its_event_time_or_else_about_when_it_was_asked() -> None:
    rows = pl.DataFrame(
        {"time": [NOW, NOW], "event_time": [None, NOW - DAY]},
        schema=dict.fromkeys(("time", "event_time"), pl.Datetime("us", "UTC")),
    )
    assert moments(rows).to_list() == [NOW, NOW - DAY]

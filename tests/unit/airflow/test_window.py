from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from windtunnel.airflow.window import Window, event_window, interval_window, moments, run_window
from windtunnel.errors import RequestError

JANUARY = Window(date(2013, 1, 1), date(2013, 1, 31))


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_a_weekly_interval_is_its_seven_days() -> None:
    window = interval_window(at("2013-01-07T03:00"), at("2013-01-14T03:00"))
    assert window == Window(date(2013, 1, 7), date(2013, 1, 13))


@pytest.mark.parametrize("clock", ["00:00", "12:00"])
def test_daily_intervals_are_about_one_day_each(clock: str) -> None:
    window = interval_window(at(f"2013-01-07T{clock}"), at(f"2013-01-08T{clock}"))
    assert window == Window(date(2013, 1, 7), date(2013, 1, 7))


def test_an_hour_is_about_the_last_whole_day() -> None:
    window = interval_window(at("2013-01-08T10:00"), at("2013-01-08T11:00"))
    assert window == Window(date(2013, 1, 7), date(2013, 1, 7))


def test_a_run_without_an_interval_is_about_yesterday() -> None:
    now = at("2013-01-08T15:00")
    assert interval_window(now, now) == Window(date(2013, 1, 7), date(2013, 1, 7))


def test_the_newest_event_tells_the_window() -> None:
    events = [
        (at("2013-02-02T00:00"), {"start": "2013-01-02", "end": "2013-02-01"}),
        (at("2013-02-03T00:00"), {"note": "by hand"}),
        (at("2013-02-01T00:00"), {"end": "2013-01-31"}),
    ]
    assert event_window(events) == Window(date(2013, 1, 2), date(2013, 2, 1))
    assert event_window([(at("2013-02-01T00:00"), {"end": "2013-01-31"})]) == Window(
        date(2013, 1, 31), date(2013, 1, 31)
    )
    assert event_window([(at("2013-02-03T00:00"), {})]) is None


@pytest.mark.parametrize(
    ("params", "start", "end"),
    [
        ({}, "2013-01-01", "2013-01-31"),
        ({"start": None, "end": ""}, "2013-01-01", "2013-01-31"),
        ({"end": "2013-01-10"}, "2013-01-10", "2013-01-10"),
        ({"start": "2013-01-10"}, "2013-01-10", "2013-01-31"),
        ({"start": "2013-03-01", "end": "2013-03-02"}, "2013-03-01", "2013-03-02"),
    ],
)
def test_params_come_before_what_the_run_was_given(params: dict[str, str], start: str, end: str) -> None:
    assert run_window(params, JANUARY).to_json() == {"start": start, "end": end}


def test_a_window_that_ends_before_it_starts_is_refused() -> None:
    with pytest.raises(RequestError, match=r"start 2013-02-01 lies after end 2013-01-01; both days"):
        run_window({"start": "2013-02-01", "end": "2013-01-01"}, JANUARY)


def test_what_is_no_day_is_refused_with_an_example() -> None:
    with pytest.raises(
        RequestError, match=r"param 'end' of the run: '31.1.2013' is no day; write it as in 2013-01-31"
    ):
        run_window({"end": "31.1.2013"}, JANUARY)


RUN_AFTER = at("2026-03-02T09:00:05")


@pytest.mark.parametrize(
    ("params", "told"),
    [
        ({}, {"end": "2026-03-02T09:00:05+00:00"}),
        (
            {"start": "2026-03-01T00:00:00Z"},
            {"start": "2026-03-01T00:00:00+00:00", "end": "2026-03-02T09:00:05+00:00"},
        ),
        ({"end": "2026-03-01T02:00:00+02:00"}, {"end": "2026-03-01T00:00:00+00:00"}),
        ({"end": "2026-03-01", "start": None}, {"end": "2026-03-01T00:00:00+00:00"}),
    ],
)
def test_a_monitor_run_is_about_moments_and_ends_when_it_was_to_run(
    params: dict[str, str | None], told: dict[str, str]
) -> None:
    assert moments(params, RUN_AFTER) == told


def test_moments_in_the_wrong_order_and_what_is_no_moment_are_refused() -> None:
    with pytest.raises(RequestError, match=r"start 2026-04-01T00:00:00\+00:00 is not before end 2026-03-02"):
        moments({"start": "2026-04-01"}, RUN_AFTER)
    with pytest.raises(RequestError, match="param 'end' of the run: 'noon' is no moment; write it as in"):
        moments({"end": "noon"}, RUN_AFTER)

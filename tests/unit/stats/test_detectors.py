"""The change detector: alarms seldom while nothing changes, soon when something does, and says since when."""

from __future__ import annotations

import json

import numpy as np
import pytest

from windtunnel.stats.detectors import ChangeDetector


def watch(scores: np.ndarray, alpha: float = 0.01) -> ChangeDetector:
    """Feed days of scores [D] to one stream."""
    streams = ("up",)
    detector = ChangeDetector(streams, alpha)
    for day, score in enumerate(scores):
        detector.update(f"{day:04}", dict.fromkeys(streams, float(score)))
    return detector


def test_months_of_quiet_days_alarms_at_most_as_often_as_it_says() -> None:
    random = np.random.default_rng(1)
    alarms = 0
    for _ in range(100):
        detector = ChangeDetector(("up",), 0.1)
        for day, score in enumerate(random.normal(size=120)):
            detector.update(str(day), {"up": float(score)})
            if detector.detected:
                alarms += 1
                break
    assert alarms <= 10


def test_two_opposite_streams_share_the_chance() -> None:
    random = np.random.default_rng(2)
    alarms = 0
    for _ in range(60):
        detector = ChangeDetector(("up", "down"), 0.1)
        for day, score in enumerate(random.normal(size=60)):
            detector.update(str(day), {"up": float(score), "down": float(-score)})
            if detector.detected:
                alarms += 1
                break
    assert alarms <= 6


@pytest.mark.parametrize(("change", "days"), [(1.0, 40), (2.0, 10), (4.0, 4), (12.0, 1)])
def test_a_lasting_change_is_found_within_days_that_fit_its_size(change: float, days: int) -> None:
    random = np.random.default_rng(3)
    waits, errors = [], []
    for _ in range(9):
        scores = np.concatenate([random.normal(size=60), random.normal(change, 1, 100)])
        detector = ChangeDetector(("up",), 0.01)
        for day, score in enumerate(scores):
            detector.update(f"{day:04}", {"up": float(score)})
            if detector.alarm:
                break
        assert detector.alarm
        waits.append(detector.days - 60)
        errors.append(abs(int(detector.alarm[1]) - 60))
    assert np.median(waits) <= days
    assert np.median(errors) <= 3


def test_a_mean_below_zero_never_counts_as_a_change() -> None:
    assert watch(np.full(500, -3.0)).p_value > 0.5


def test_two_odd_days_are_forgotten_within_a_fortnight_and_a_lasting_change_is_not() -> None:
    odd = np.concatenate([np.zeros(20), [9.0, 9.0]])
    assert watch(odd).alarm == ("up", "0020")
    assert watch(np.concatenate([odd, [0.0]])).detected, "one quiet day ends nothing"
    assert watch(np.concatenate([odd, np.zeros(14)])).alarm is None
    random = np.random.default_rng(6)
    lasting = np.concatenate([np.zeros(20), random.normal(2, 1, 300)])
    assert watch(lasting).detected
    assert int((watch(lasting).alarm or ("", "999"))[1]) <= 23


def test_a_change_after_years_of_quiet_is_found_as_soon_as_an_early_one() -> None:
    random = np.random.default_rng(7)
    quiet = random.normal(-1, 1, 800)
    assert watch(np.concatenate([quiet, np.full(5, 4.0)])).detected


def test_the_stream_that_changed_is_named() -> None:
    detector = ChangeDetector(("loss", "label"), 0.01)
    for day in range(10):
        detector.update(f"{day}", {"loss": 0.0, "label": 3.0 if day >= 4 else 0.0})
    assert detector.alarm == ("label", "4")


def test_it_goes_on_from_json_as_if_it_had_never_stopped() -> None:
    scores = np.random.default_rng(4).normal(0.5, 1, 40)
    whole, first = watch(scores), watch(scores[:15])
    second = ChangeDetector.from_json(("up",), 0.01, json.loads(json.dumps(first.to_json())))
    for day in range(15, 40):
        second.update(f"{day:04}", {"up": float(scores[day])})
    assert second.to_json() == whole.to_json()
    assert second.p_value == whole.p_value


def test_the_state_of_other_streams_is_refused() -> None:
    with pytest.raises(KeyError):
        ChangeDetector.from_json(("down",), 0.01, watch(np.zeros(2)).to_json())

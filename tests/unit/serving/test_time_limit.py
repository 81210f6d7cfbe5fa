"""What a caller may lose to a challenger."""

from __future__ import annotations

import pytest

from windtunnel.serving.time_limit import CEILING, FLOOR, TimeLimit


def test_a_fast_champion_gives_the_floor() -> None:
    limit = TimeLimit()
    for _ in range(100):
        limit.measured(1, 50e-6)
    assert limit.limit(1) == FLOOR


def test_three_times_what_the_champion_takes_whatever_one_outlier_says() -> None:
    limit = TimeLimit()
    for _ in range(20):
        limit.measured(1, 0.010)
    limit.measured(1, 5.0)
    assert limit.limit(1) == pytest.approx(0.030)


def test_it_follows_the_champion() -> None:
    limit = TimeLimit()
    for seconds in (0.010, 0.040):
        for _ in range(40):
            limit.measured(1, seconds)
        assert limit.limit(1) == pytest.approx(3 * seconds)


def test_larger_batches_get_more_and_never_more_than_the_ceiling() -> None:
    limit = TimeLimit()
    limit.measured(1, 0.010)
    assert limit.limit(1) < limit.limit(4) < limit.limit(16) <= CEILING
    assert limit.limit(10_000) == CEILING
    limit.measured(10_000, 0.100)
    assert limit.limit(10_000) == pytest.approx(0.300)
    assert limit.limit(1) == pytest.approx(0.030)


def test_before_the_champion_was_measured_it_is_bounded_as_well() -> None:
    assert FLOOR < TimeLimit().limit(1) <= CEILING

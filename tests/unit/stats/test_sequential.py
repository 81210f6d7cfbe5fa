"""What always-valid tests are made of: the bet's fairness, exactly, and its edges.

How often they err and how soon they decide is simulated in tests/component/stats.
"""

from __future__ import annotations

import math

import pytest

from windtunnel.stats.sequential import GAPS, Comparison, MeanTest, events

ALPHA = 0.05


def test_a_total_failure_is_found_within_five_requests() -> None:
    test = Comparison(0.005)
    for _ in range(5):
        test.update(events(1, 1), events(1, 0))
        if test.p_value <= ALPHA:
            break
    assert test.p_value <= ALPHA


def test_one_sample_sees_a_mean_above_its_limit() -> None:
    test = MeanTest(0.05)
    test.update_each([1.0, 1.0, 0.0, 1.0, 1.0])
    assert test.p_value <= ALPHA


def test_the_factor_is_one_on_average_or_less_whatever_the_block() -> None:
    """Exactly, by all outcomes of a block, at the edge of the null and inside it."""
    for margin, champion, challenger in [
        (0.0, 0.3, 0.3),
        (0.005, 0.2, 0.205),
        (0.1, 0.5, 0.2),
        (-0.1, 0.4, 0.3),
    ]:
        for own, theirs in [(1, 1), (3, 2), (2, 5)]:
            expected = 0.0
            for a in range(own + 1):
                for b in range(theirs + 1):
                    test = Comparison(margin, events(50, 10))
                    test.update(events(own, a), events(theirs, b))
                    chance = math.comb(own, a) * challenger**a * (1 - challenger) ** (own - a)
                    chance *= math.comb(theirs, b) * champion**b * (1 - champion) ** (theirs - b)
                    expected += chance * math.exp(test._capital.log_value)
            assert expected <= 1.0 + 1e-12


def test_a_block_of_one_model_waits_for_the_other() -> None:
    test = Comparison(0.0)
    test.update(events(10, 10), events(0, 0))
    assert test.p_value == 1.0
    test.update(events(0, 0), events(10, 0))
    assert test.p_value < ALPHA


def test_what_was_shown_once_stays_shown() -> None:
    test = Comparison(0.0)
    test.update(events(20, 20), events(20, 0))
    shown = test.p_value
    for _ in range(50):
        test.update(events(20, 0), events(20, 20))
    assert test.p_value == shown


@pytest.mark.parametrize("margin", [-0.99, -0.5, 0.0, 0.5, 0.99])
@pytest.mark.parametrize("rate", [0.0, 0.5, 1.0])
def test_no_margin_and_no_rate_breaks_it(margin: float, rate: float) -> None:
    test = Comparison(margin)
    for _ in range(20):
        test.update(events(1e6, rate * 1e6), events(1e6, rate * 1e6))
        test.update(events(1, rate), events(1e6, rate * 1e6))
        test.update(events(0, 0), events(0, 0))
    assert 0.0 <= test.p_value <= 1.0
    assert (test.p_value <= ALPHA) == (margin < 0.0)


def test_the_capital_is_all_bet() -> None:
    assert sum(GAPS.values()) == 1.0

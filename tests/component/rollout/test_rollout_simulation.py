"""A thousand rollouts at a time through all steps, looked at each second: how often they end wrongly.

`many_rollouts` is held against the real machine, guard and evidence first. docs/rollout.md has the figures.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np
import pytest
from many_rollouts import roll_out
from rollout_world import ApiServer, World, version

from windtunnel.rollout.driving import Driver
from windtunnel.rollout.evidence import Bound
from windtunnel.rollout.moves import Plan
from windtunnel.rollout.promotion import Candidate, Promoted

if TYPE_CHECKING:
    from many_rollouts import Ends, Failing

RUNS = 1_000
MARGIN = 0.005


def rates(champion: float, challenger: float) -> Failing:
    random = np.random.default_rng(7)
    return lambda _, own, asked: random.binomial(asked, challenger if own else champion).astype(float)


def runs(champion: float, challenger: float, seconds: int = 300, margin: float = MARGIN) -> Ends:
    return roll_out(rates(champion, challenger), RUNS, seconds, 200, margin)


@pytest.mark.parametrize(("champion", "challenger"), [(0.001, 0.001), (0.02, 0.05), (0.0, 0.005)])
def test_many_at_once_go_as_each_alone(champion: float, challenger: float) -> None:
    """With the real step machine, driver, guard and evidence, on the same requests."""
    few, seconds, requests = 6, 120, 100
    random = np.random.default_rng(3)
    fails = np.stack(
        [random.random((seconds, requests, few)) < rate for rate in (challenger, champion)]
    ).cumsum(axis=2)

    def failing(second: int, own: bool, asked: np.ndarray) -> np.ndarray:
        return fails[0 if own else 1, second, asked - 1, np.arange(few)].astype(float)

    many = roll_out(failing, few, seconds, requests, MARGIN)
    for run in range(few):
        world = World(ApiServer(guard={"maxPredictionShift": 0.5}), requests=requests, times="inf")
        alone(world, fails[..., run], seconds)
        done = driver(world, timedelta(seconds=seconds)).drive()
        if not (many.promoted[run] or many.taken_back[run]):
            continue  # this one takes longer than what was drawn
        assert isinstance(done, Promoted) == many.promoted[run]
        # what else the evidence tells may show a step's end a second earlier
        assert world.asked == pytest.approx(many.asked[run], abs=5 * requests)


def alone(world: World, fails: np.ndarray, seconds: int) -> None:
    def failing(own: bool, asked: int) -> int:
        second = world.passed - 1
        return int(fails[0 if own else 1, second, asked - 1]) if asked and second < seconds else 0

    world.challenger = lambda asked: failing(True, asked)
    world.champion = lambda asked: failing(False, asked)


def driver(world: World, step_timeout: timedelta) -> Driver:
    candidate = Candidate(
        lifecycle="demo", champion=version(2), expected_champion="1", run_id="run-2", by="stage/rollout"
    )
    plan = Plan(version(2), "1", "run-2", step_timeout=step_timeout)
    return Driver(
        world.api,
        candidate,
        plan,
        logging.getLogger("windtunnel.stage"),
        sleep=world.sleep,
        clock=lambda: float(world.passed),
        now=lambda: world.now,
    )


NULLS = {
    "faults are rare": (0.001, 0.006),
    "near tie, the champion hardly fails": (0.0002, 0.0052),
    "near tie, the champion never fails": (0.0, 0.005),
    "faults are usual": (0.02, 0.025),
}


@pytest.mark.parametrize("name", NULLS)
def test_of_a_thousand_at_the_margin_at_most_one_in_twenty_gets_the_seat_or_is_taken_back(name: str) -> None:
    ends = runs(*NULLS[name])
    assert ends.promoted.mean() <= 0.05
    assert ends.taken_back.mean() <= 0.05


@pytest.mark.parametrize(
    ("rate", "margin", "most"),
    [(0.0, 0.005, 1_200), (0.001, 0.005, 1_300), (0.005, 0.005, 3_000), (0.02, 0.01, 3_000)],
)
def test_nine_in_ten_equal_ones_get_the_seat(rate: float, margin: float, most: int) -> None:
    """`most`: requests of the challenger, of the median run."""
    ends = runs(rate, rate, margin=margin)
    assert ends.promoted.mean() >= 0.9
    assert ends.taken_back.mean() <= 0.05
    assert np.median(ends.own[ends.promoted]) <= most


def test_errors_that_rise_from_2_to_5_percent_are_taken_back_and_few_users_see_them() -> None:
    ends = runs(0.02, 0.05)
    assert ends.taken_back.mean() >= 0.9
    assert ends.promoted.mean() <= 0.01
    assert np.median(ends.own[ends.taken_back]) <= 700
    assert (ends.traffic[ends.taken_back] <= 5).mean() >= 0.95


@pytest.mark.parametrize("shift", [0.1, 0.2])
def test_predictions_at_the_edge_are_seldom_shown_to_lie_within_it(shift: float) -> None:
    """Ranks whose mean is 1/2 + shift, shown to exceed 1/2 by less, looked at after every 20."""
    ranks = (np.arange(10) + 0.5) / 10
    tilt = next(one for one in np.arange(0.0, 9.0, 0.01) if ranks @ tilted(one) >= 0.5 + shift)
    wrong = 0
    for run in range(200):
        random = np.random.default_rng(run)
        bound = Bound(shift)
        own = random.multinomial(20, tilted(tilt), 40)
        theirs = random.multinomial(20, tilted(0.0), 40)
        for a, b in zip(own.tolist(), theirs.tolist(), strict=True):
            bound.update(dict(zip(ranks, a, strict=True)), dict(zip(ranks, b, strict=True)))
        wrong += bound.is_within
    assert wrong <= 10


def tilted(tilt: float) -> np.ndarray:
    """Shares of ten ranks; 0: even."""
    weights = np.exp(np.linspace(-1.0, 1.0, 10) * tilt)
    return weights / weights.sum()

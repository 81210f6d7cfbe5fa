"""Tests that are looked at all the time keep their false rate, and decide soon: by simulation.

A look every 20 requests is what one second brings at 20 requests per second; one case looks after every pair.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from windtunnel.stats.sequential import Comparison, MeanTest, events

ALPHA = 0.05
Block = tuple[dict[float, float], dict[float, float]]
Stream = Callable[[np.random.Generator], Iterator[Block]]


def stops(test: Callable[[], Comparison], stream: Stream, runs: int, alpha: float = ALPHA) -> list[float]:
    """After how many requests, of both models, each run was decided; infinity: not at all."""
    found = []
    for run in range(runs):
        one, seen, stopped = test(), 0.0, math.inf
        for challenger, champion in stream(np.random.default_rng(run)):
            one.update(challenger, champion)
            seen += sum(challenger.values()) + sum(champion.values())
            if one.p_value <= alpha:
                stopped = seen
                break
        found.append(stopped)
    return found


def share_decided(found: list[float]) -> float:
    return float(np.isfinite(found).mean())


def faults(
    champion: float, challenger: float, requests: int, share: float = 0.5, look_every: int = 20
) -> Stream:
    """0/1 observations of which each model has its rate; a block for each look."""
    own = round(look_every * share)

    def stream(random: np.random.Generator) -> Iterator[Block]:
        looks = requests // look_every
        of_challenger = random.binomial(own, challenger, looks).tolist()
        of_champion = random.binomial(look_every - own, champion, looks).tolist()
        for a, b in zip(of_challenger, of_champion, strict=True):
            yield events(own, a), events(look_every - own, b)

    return stream


# Each null is at its edge, the worst that it allows: the challenger's rate is the champion's and the margin.
NULLS = {
    "equal": (0.0, 0.02, 0.02, 0.5),
    "at the margin": (0.005, 0.02, 0.025, 0.5),
    "near tie, faults are rare": (0.005, 0.0002, 0.0052, 0.5),
    "near tie, no margin": (0.0, 0.001, 0.001, 0.5),
    "few go to the challenger": (0.005, 0.02, 0.025, 0.1),
    "both fail often": (0.005, 0.4, 0.405, 0.5),
}


@pytest.mark.parametrize("case", NULLS)
def test_of_a_thousand_null_challengers_at_most_one_in_twenty_is_taken_back(case: str) -> None:
    margin, champion, challenger, share = NULLS[case]
    found = stops(lambda: Comparison(margin), faults(champion, challenger, 3_000, share), 1_000)
    assert share_decided(found) <= ALPHA


def test_looking_after_every_request_does_not_raise_the_false_rate() -> None:
    found = stops(lambda: Comparison(0.005), faults(0.02, 0.025, 600, look_every=2), 1_000)
    assert share_decided(found) <= ALPHA


def test_rates_that_drift_and_shares_that_change_are_no_reason() -> None:
    """Both get worse while the challenger is given ever more traffic: pooled counts would differ."""

    def stream(random: np.random.Generator) -> Iterator[Block]:
        for step in range(200):
            own, rate = 2 + step // 12, 0.01 + 0.0005 * step
            yield (
                events(own, float(random.binomial(own, rate + 0.005))),
                events(20 - own, float(random.binomial(20 - own, rate))),
            )

    assert share_decided(stops(lambda: Comparison(0.005), stream, 1_000)) <= ALPHA


@pytest.mark.parametrize(("margin", "most"), [(0.0, 1_300), (0.005, 1_700)])
def test_errors_that_rise_from_2_to_5_percent_are_found_sooner_than_by_a_confidence_sequence(
    margin: float, most: int
) -> None:
    """1,900 requests (median) is what a normal-mixture confidence sequence took without any margin."""
    found = stops(lambda: Comparison(margin), faults(0.02, 0.05, 10_000), 1_000)
    assert share_decided(found) >= 0.9
    assert np.median(found) <= most


def turned(stream: Stream) -> Stream:
    """The champion in the challenger's place: then a test with a negative margin shows "not worse"."""
    return lambda random: ((champion, challenger) for challenger, champion in stream(random))


def test_shown_to_be_no_worse_is_rarely_wrong_and_soon_right() -> None:
    """At the margin a challenger passes with at most 5 %; an equal one within 6,000 requests."""
    found = stops(lambda: Comparison(-0.02), turned(faults(0.02, 0.04, 4_000)), 1_000)
    assert share_decided(found) <= ALPHA
    found = stops(lambda: Comparison(-0.02), turned(faults(0.02, 0.02, 6_000)), 300)
    assert share_decided(found) >= 0.9


def test_knowing_the_champion_saves_requests() -> None:
    stream = faults(0.02, 0.05, 10_000)
    unknown = np.median(stops(lambda: Comparison(0.005), stream, 200))
    known = np.median(stops(lambda: Comparison(0.005, events(1_000, 20)), stream, 200))
    assert known < unknown


def losses(rise: float, requests: int, paired: bool) -> Stream:
    """Squared errors of two classifiers; the challenger's mean is `rise` times the champion's."""
    truth = np.random.default_rng(0).beta(1.0, 3.0, 200_000)
    unit = np.random.default_rng(1).normal(size=(2, 200_000))

    def mean(noise: float, which: int) -> float:
        predicted = np.clip(truth + noise * unit[which], 0.0, 1.0)
        return float((truth * (1.0 - predicted) ** 2 + (1.0 - truth) * predicted**2).mean())

    noise = min(np.arange(0.05, 0.5, 0.002), key=lambda n: abs(mean(n, 1) / mean(0.05, 0) - rise))

    def stream(random: np.random.Generator) -> Iterator[Block]:
        rows = random.beta(1.0, 3.0, requests)
        labels = (random.random(requests) < rows).astype(float)
        theirs = (labels - np.clip(rows + 0.05 * random.normal(size=requests), 0.0, 1.0)) ** 2
        own = (labels - np.clip(rows + noise * random.normal(size=requests), 0.0, 1.0)) ** 2
        if paired:
            for difference in ((1.0 + own - theirs) / 2.0).tolist():
                yield {difference: 1.0}, {}
            return
        for row in range(0, requests - 1, 2):
            yield {float(own[row]): 1.0}, {float(theirs[row + 1]): 1.0}

    return stream


def paired_stops(stream: Stream, limit: float, runs: int) -> list[float]:
    found = []
    for run in range(runs):
        test, stopped = MeanTest(limit), math.inf
        for number, (values, _) in enumerate(stream(np.random.default_rng(run)), start=1):
            test.update(values)
            if test.p_value <= ALPHA:
                stopped = number
                break
        found.append(stopped)
    return found


def test_a_quality_that_is_a_tenth_worse_is_found_on_paired_losses() -> None:
    found = paired_stops(losses(1.10, 6_000, paired=True), 0.5, 300)
    assert np.median(found) <= 400
    assert share_decided(found) >= 0.9


def test_equal_losses_are_no_reason() -> None:
    assert share_decided(paired_stops(losses(1.0, 300, paired=True), 0.5, 1_000)) <= ALPHA
    found = stops(lambda: Comparison(0.0, {0.2: 50.0}), losses(1.0, 400, paired=False), 1_000)
    assert share_decided(found) <= ALPHA


@pytest.mark.parametrize("limit", [0.001, 0.05, 0.5, 0.9])
def test_one_sample_keeps_its_rate_at_the_limit(limit: float) -> None:
    found = []
    for run in range(300):
        test = MeanTest(limit)
        for number in np.random.default_rng(run).binomial(20, limit, 60).tolist():
            test.update(events(20, number))
        found.append(test.p_value <= ALPHA)
    assert np.mean(found) <= ALPHA

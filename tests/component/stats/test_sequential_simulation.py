"""Tests that are looked at all the time keep their false rate, and decide soon: by simulation.

A look every 20 requests is what one second brings at 20 requests per second; one case looks after every pair.
The runs of a case go side by side (`many_tests`), which is held against the real tests first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

import numpy as np
import pytest
from many_tests import Comparison, MeanTest, Sample, events, singles

from windtunnel.stats import sequential

ALPHA = 0.05
RUNS = 1_000
Block = tuple[Sample, Sample]
Stream = Callable[[int], Iterator[Block]]
"""Number of runs → blocks of the challenger and the champion, of all runs at once."""


def stops(test: Comparison, stream: Stream, runs: int = RUNS) -> np.ndarray:
    """After how many requests, of both models, each run was decided; infinity: not at all."""
    seen, stopped = np.zeros(runs), np.full(runs, np.inf)
    for challenger, champion in stream(runs):
        test.update(challenger, champion)
        seen += challenger[1].sum(axis=0) + champion[1].sum(axis=0)
        stopped = np.where(np.isinf(stopped) & (test.p_value <= ALPHA), seen, stopped)
        if np.isfinite(stopped).all():
            break
    return stopped


def share_decided(found: np.ndarray) -> float:
    return float(np.isfinite(found).mean())


def drawn(runs: int, draw: Callable[[np.random.Generator], Any]) -> np.ndarray:
    """What each run draws for itself, by its number; the run is the last axis."""
    return np.stack([draw(np.random.default_rng(run)) for run in range(runs)], axis=-1)


def faults(
    champion: float, challenger: float, requests: int, share: float = 0.5, look_every: int = 20
) -> Stream:
    """0/1 observations of which each model has its rate; a block for each look."""
    own = round(look_every * share)
    theirs, looks = look_every - own, requests // look_every

    def stream(runs: int) -> Iterator[Block]:
        both = drawn(
            runs,
            lambda random: (
                random.binomial(own, challenger, looks),
                random.binomial(theirs, champion, looks),
            ),
        )
        for a, b in zip(*both, strict=True):
            yield events(own, a), events(theirs, b)

    return stream


def in_between(runs: int) -> Iterator[Block]:
    """One value of each model at a time, anywhere from 0 to 1."""
    for own, theirs in drawn(runs, lambda random: random.beta(1.0, 3.0, (50, 2))):
        yield singles(own), singles(theirs)


def by_value(sample: Sample, run: int) -> dict[float, float]:
    """What one run has, as the real tests take it."""
    counts: dict[float, float] = {}
    for value, count in zip(*sample, strict=True):
        one = float(value[run % len(value)])
        counts[one] = counts.get(one, 0.0) + float(count[run % len(count)])
    return counts


# Each null is at its edge, the worst that it allows: the challenger's rate is the champion's and the margin.
NULLS = {
    "equal": (0.0, 0.02, 0.02, 0.5),
    "at the margin": (0.005, 0.02, 0.025, 0.5),
    "near tie, faults are rare": (0.005, 0.0002, 0.0052, 0.5),
    "near tie, no margin": (0.0, 0.001, 0.001, 0.5),
    "few go to the challenger": (0.005, 0.02, 0.025, 0.1),
    "both fail often": (0.005, 0.4, 0.405, 0.5),
}


@pytest.mark.parametrize("margin", [-0.02, 0.0, 0.005])
def test_many_at_once_go_as_each_alone(margin: float) -> None:
    """All that a test knows, after each look: of faults, rare and frequent, and of values in between."""
    few, known = 4, {0.0: 990.0, 1.0: 10.0}
    many = Comparison(margin, few, events(1_000.0, 10.0))
    alone = [sequential.Comparison(margin, known) for _ in range(few)]
    cases = [faults(0.001, 0.005, 1_000), faults(0.4, 0.5, 400, 0.1), in_between]
    for challenger, champion in chain.from_iterable(case(few) for case in cases):
        many.update(challenger, champion)
        for run, one in enumerate(alone):
            one.update(by_value(challenger, run), by_value(champion, run))
        assert np.allclose(many.log_capital, [one.log_capital for one in alone], rtol=0.0, atol=1e-8)
        assert np.allclose(many.p_value, [one.p_value for one in alone], rtol=1e-6, atol=0.0)


def test_many_of_one_sample_go_as_each_alone() -> None:
    few = 4
    many, alone = MeanTest(0.05, few), [sequential.MeanTest(0.05) for _ in range(few)]
    for sample, _ in chain(faults(0.05, 0.05, 1_000)(few), in_between(few)):
        many.update(sample)
        for run, one in enumerate(alone):
            one.update(by_value(sample, run))
        assert np.allclose(many.log_capital, [one.log_capital for one in alone], rtol=0.0, atol=1e-8)
        assert np.allclose(many.p_value, [one.p_value for one in alone], rtol=1e-6, atol=0.0)


@pytest.mark.parametrize("case", NULLS)
def test_of_a_thousand_null_challengers_at_most_one_in_twenty_is_taken_back(case: str) -> None:
    margin, champion, challenger, share = NULLS[case]
    found = stops(Comparison(margin, RUNS), faults(champion, challenger, 3_000, share))
    assert share_decided(found) <= ALPHA


def test_looking_after_every_request_does_not_raise_the_false_rate() -> None:
    found = stops(Comparison(0.005, RUNS), faults(0.02, 0.025, 600, look_every=2))
    assert share_decided(found) <= ALPHA


def test_rates_that_drift_and_shares_that_change_are_no_reason() -> None:
    """Both get worse while the challenger is given ever more traffic: pooled counts would differ."""
    own = 2 + np.arange(200) // 12
    rates = 0.01 + 0.0005 * np.arange(200)
    asked, failing = np.stack([own, 20 - own], axis=1), np.stack([rates + 0.005, rates], axis=1)

    def stream(runs: int) -> Iterator[Block]:
        for (n, m), (a, b) in zip(
            asked, drawn(runs, lambda random: random.binomial(asked, failing)), strict=True
        ):
            yield events(n, a), events(m, b)

    assert share_decided(stops(Comparison(0.005, RUNS), stream)) <= ALPHA


@pytest.mark.parametrize(("margin", "most"), [(0.0, 1_300), (0.005, 1_700)])
def test_errors_that_rise_from_2_to_5_percent_are_found_sooner_than_by_a_confidence_sequence(
    margin: float, most: int
) -> None:
    """1,900 requests (median) is what a normal-mixture confidence sequence took without any margin."""
    found = stops(Comparison(margin, RUNS), faults(0.02, 0.05, 10_000))
    assert share_decided(found) >= 0.9
    assert np.median(found) <= most


def turned(stream: Stream) -> Stream:
    """The champion in the challenger's place: then a test with a negative margin shows "not worse"."""
    return lambda runs: ((champion, challenger) for challenger, champion in stream(runs))


def test_shown_to_be_no_worse_is_rarely_wrong_and_soon_right() -> None:
    """At the margin a challenger passes with at most 5 %; an equal one within 6,000 requests."""
    found = stops(Comparison(-0.02, RUNS), turned(faults(0.02, 0.04, 4_000)))
    assert share_decided(found) <= ALPHA
    found = stops(Comparison(-0.02, RUNS), turned(faults(0.02, 0.02, 6_000)))
    assert share_decided(found) >= 0.9


def test_knowing_the_champion_saves_requests() -> None:
    stream = faults(0.02, 0.05, 10_000)
    unknown = np.median(stops(Comparison(0.005, RUNS), stream))
    known = np.median(stops(Comparison(0.005, RUNS, events(1_000, 20)), stream))
    assert known < unknown


def noise_that_raises(rise: float) -> float:
    """At which the challenger's mean squared error is `rise` times that of the champion, of noise 0.05."""
    truth = np.random.default_rng(0).beta(1.0, 3.0, 200_000)
    unit = np.random.default_rng(1).normal(size=(2, 200_000))

    def mean(noise: float, which: int) -> float:
        predicted = np.clip(truth + noise * unit[which], 0.0, 1.0)
        return float((truth * (1.0 - predicted) ** 2 + (1.0 - truth) * predicted**2).mean())

    usual = mean(0.05, 0)
    return float(min(np.arange(0.05, 0.2, 0.002), key=lambda noise: abs(mean(noise, 1) / usual - rise)))


def losses(rise: float, requests: int, paired: bool) -> Stream:
    """Squared errors of two classifiers; the challenger's mean is `rise` times the champion's."""
    noise = noise_that_raises(rise)

    def both(random: np.random.Generator) -> np.ndarray:
        rows = random.beta(1.0, 3.0, requests)
        labels = (random.random(requests) < rows).astype(float)
        theirs = (labels - np.clip(rows + 0.05 * random.normal(size=requests), 0.0, 1.0)) ** 2
        own = (labels - np.clip(rows + noise * random.normal(size=requests), 0.0, 1.0)) ** 2
        return np.stack([own, theirs])

    def stream(runs: int) -> Iterator[Block]:
        own, theirs = drawn(runs, both)
        if paired:
            for difference in (1.0 + own - theirs) / 2.0:
                yield singles(difference), events(0.0, 0.0)
            return
        for row in range(0, requests - 1, 2):
            yield singles(own[row]), singles(theirs[row + 1])

    return stream


def paired_stops(stream: Stream, limit: float) -> np.ndarray:
    test, stopped = MeanTest(limit, RUNS), np.full(RUNS, np.inf)
    for number, (values, _) in enumerate(stream(RUNS), start=1):
        test.update(values)
        stopped = np.where(np.isinf(stopped) & (test.p_value <= ALPHA), number, stopped)
        if np.isfinite(stopped).all():
            break
    return stopped


def test_a_quality_that_is_a_tenth_worse_is_found_on_paired_losses() -> None:
    found = paired_stops(losses(1.10, 3_000, paired=True), 0.5)
    assert np.median(found) <= 400
    assert share_decided(found) >= 0.9


def test_equal_losses_are_no_reason() -> None:
    assert share_decided(paired_stops(losses(1.0, 300, paired=True), 0.5)) <= ALPHA
    known = (np.array([[0.2]]), np.array([[50.0]]))
    found = stops(Comparison(0.0, RUNS, known), losses(1.0, 400, paired=False))
    assert share_decided(found) <= ALPHA


@pytest.mark.parametrize("limit", [0.001, 0.05, 0.5, 0.9])
def test_one_sample_keeps_its_rate_at_the_limit(limit: float) -> None:
    test = MeanTest(limit, RUNS)
    for number in drawn(RUNS, lambda random: random.binomial(20, limit, 60)):
        test.update(events(20, number))
    assert (test.p_value <= ALPHA).mean() <= ALPHA

"""What breaks the guard, what does not, and what it forgives."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from windtunnel.rollout.counters import (
    CHALLENGER,
    CHAMPION,
    FAULTS,
    PREDICTIONS,
    REQUESTS,
    RESTARTS,
    SECONDS,
    Reading,
)
from windtunnel.rollout.guard import Broken, Guard, Healthy, Verdict, Waiting
from windtunnel.spec.servedmodel import GuardSettings

EDGES = ("0.0005", "0.001", "0.002", "0.005", "0.01", "0.02", "inf")


class Pod:
    """Counts as a serving process does."""

    def __init__(self, started: float = 1.0, requests: int = 0) -> None:
        self.started = started
        self.counts: Counter[tuple[str, ...]] = Counter({(CHAMPION, REQUESTS): requests})
        self.states: frozenset[str] = frozenset({"Ready"})

    def serve(self, champion: int, challenger: int, **faults: int) -> None:
        self.counts[CHAMPION, REQUESTS] += champion
        self.counts[CHALLENGER, REQUESTS] += challenger
        for reason, number in faults.items():
            self.counts[CHALLENGER, FAULTS, reason] += number

    def histogram(self, who: str, what: str, **counts: int) -> None:
        for bound, number in counts.items():
            self.counts[who, what, bound] += number

    def seconds(self, who: str, *counts: int) -> None:
        for bound, number in zip(EDGES, counts, strict=True):
            self.counts[who, SECONDS, bound] += number

    def predictions(self, who: str, *counts: int) -> None:
        for step, number in enumerate(counts, start=1):
            self.counts[who, PREDICTIONS, repr(step / 10)] += number

    @property
    def reading(self) -> Reading:
        return Reading(self.started, Counter(self.counts), self.states)


class Watch:
    """A guard that looks each second at some pods."""

    def __init__(self, *pods: Pod, forgive: bool = False, **settings: Any) -> None:
        self.pods = {f"pod-{number}": pod for number, pod in enumerate(pods)}
        self.guard = Guard(GuardSettings(**settings), forgive=forgive)
        self.now = 0.0

    def look(self) -> Verdict:
        self.now += 1.0
        return self.guard.look({name: pod.reading for name, pod in self.pods.items()}, self.now)


def reason(verdict: Verdict) -> str:
    return verdict.reason if isinstance(verdict, Broken) else type(verdict).__name__


@pytest.fixture
def pod() -> Pod:
    return Pod()


@pytest.fixture
def watch(pod: Pod) -> Watch:
    return Watch(pod)


def test_it_waits_for_pods_then_for_requests_then_calls_it_healthy(pod: Pod) -> None:
    watch = Watch()
    assert isinstance(watch.look(), Waiting)
    watch.pods["pod"] = pod
    assert isinstance(watch.look(), Waiting)
    pod.serve(441, 49)
    assert isinstance(watch.look(), Waiting)
    pod.serve(9, 1)
    verdict = watch.look()
    assert isinstance(verdict, Healthy)
    assert verdict.message == "0 faults in 50 requests; champion 0 in 450"


def test_what_it_says_of_a_healthy_one_changes_when_the_requests_have_doubled(watch: Watch, pod: Pod) -> None:
    watch.look()
    said = set()
    for _ in range(64):
        pod.serve(50, 50)
        verdict = watch.look()
        assert isinstance(verdict, Healthy)
        said.add(verdict.message)
    assert len(said) == 7


@pytest.mark.parametrize(("fault", "expected"), [("died", "ChallengerDied"), ("not_a_number", "NotANumber")])
def test_one_hard_failure_is_enough(watch: Watch, pod: Pod, fault: str, expected: str) -> None:
    watch.look()
    pod.serve(1000, 1000, **{fault: 1})
    verdict = watch.look()
    assert reason(verdict) == expected
    assert isinstance(verdict, Broken)
    assert verdict.evidence.requests == 1000
    assert "1 faults in 1,000 requests" in verdict.message


def test_a_death_without_a_request_is_one(watch: Watch, pod: Pod) -> None:
    watch.look()
    pod.counts[CHALLENGER, RESTARTS] += 1
    assert reason(watch.look()) == "ChallengerDied"


@pytest.mark.parametrize("state", ["Rejected", "Quarantined"])
def test_a_pod_that_gave_up_on_it_is_one(watch: Watch, pod: Pod, state: str) -> None:
    watch.pods["other"] = Pod()
    pod.states = frozenset({state})
    verdict = watch.look()
    assert reason(verdict) == state
    assert isinstance(verdict, Broken)
    assert "pod-0" in verdict.message


@pytest.mark.parametrize(
    ("fault", "expected"),
    [("timeout", "RepeatedTimeouts"), ("error", "RepeatedErrors"), ("overloaded", "Overloaded")],
)
def test_three_faults_of_few_requests_are_enough_also_without_a_champion(
    watch: Watch, pod: Pod, fault: str, expected: str
) -> None:
    watch.look()
    for _ in range(2):
        pod.serve(0, 2, **{fault: 1})
        assert not isinstance(watch.look(), Broken)
    pod.serve(0, 2, **{fault: 1})
    assert reason(watch.look()) == expected


def test_faults_that_lie_far_apart_are_not_repeated(watch: Watch, pod: Pod) -> None:
    watch.look()
    for _ in range(5):
        pod.serve(0, 1, timeout=1)
        assert not isinstance(watch.look(), Broken)
        watch.now += 6.0


def test_a_few_timeouts_among_many_requests_are_left_to_the_test(watch: Watch, pod: Pod) -> None:
    watch.look()
    pod.serve(1000, 1000, timeout=5)
    assert isinstance(watch.look(), Healthy)


def test_a_higher_share_of_faults_breaks_it_and_it_stays_so(watch: Watch, pod: Pod) -> None:
    watch.look()
    for _ in range(60):
        pod.serve(50, 50, error=3)
        verdict = watch.look()
        if isinstance(verdict, Broken):
            break
    assert reason(verdict) == "ErrorRate"
    for _ in range(10):
        pod.serve(500, 500)
        assert watch.look() == verdict


def test_faults_that_the_champion_has_as_well_are_not_held_against_it(watch: Watch, pod: Pod) -> None:
    watch.look()
    for _ in range(100):
        pod.serve(50, 50, error=5)
        pod.counts[CHAMPION, FAULTS] += 5
        assert not isinstance(watch.look(), Broken)


@pytest.mark.parametrize(("limit", "breaks"), [(0.0, True), (0.02, True), (0.2, False), (1.0, False)])
def test_an_absolute_limit(pod: Pod, limit: float, breaks: bool) -> None:
    watch = Watch(pod, max_error_rate=limit, error_margin=0.0)
    watch.look()
    broken = False
    for _ in range(40):
        pod.serve(50, 50, error=4)
        pod.counts[CHAMPION, FAULTS] += 4
        broken = broken or reason(watch.look()) == "ErrorLimit"
    assert broken is breaks


def test_a_slower_challenger_breaks_it(watch: Watch, pod: Pod) -> None:
    watch.look()
    for _ in range(30):
        pod.serve(50, 50)
        pod.seconds(CHAMPION, 0, 50, 0, 0, 0, 0, 0)
        pod.seconds(CHALLENGER, 0, 30, 0, 20, 0, 0, 0)
        verdict = watch.look()
    assert reason(verdict) == "Latency"
    assert isinstance(verdict, Broken)
    assert "longer than 2 ms; 99 % of the champion's take at most 1 ms" in verdict.message


@pytest.mark.parametrize("ratio", [1.0, 4.0])
def test_how_much_slower_is_too_slow_is_the_specs(pod: Pod, ratio: float) -> None:
    watch = Watch(pod, max_latency_ratio=ratio)
    watch.look()
    for _ in range(30):
        pod.serve(50, 50)
        pod.seconds(CHAMPION, 0, 0, 0, 50, 0, 0, 0)
        pod.seconds(CHALLENGER, 0, 0, 0, 0, 50, 0, 0)
        verdict = watch.look()
    assert reason(verdict) == ("Latency" if ratio == 1.0 else "Healthy")


def test_what_nobody_notices_is_not_slow(watch: Watch, pod: Pod) -> None:
    watch.look()
    for _ in range(30):
        pod.serve(50, 50)
        pod.seconds(CHAMPION, 50, 0, 0, 0, 0, 0, 0)
        pod.seconds(CHALLENGER, 0, 0, 50, 0, 0, 0, 0)
        assert not isinstance(watch.look(), Broken)


@pytest.mark.parametrize(("counts", "where"), [((0, 0, 0, 10, 40), "higher"), ((50, 0, 0, 0, 0), "lower")])
def test_shifted_predictions_break_it(watch: Watch, pod: Pod, counts: tuple[int, ...], where: str) -> None:
    watch.look()
    for _ in range(30):
        pod.serve(50, 50)
        pod.predictions(CHAMPION, 10, 10, 10, 10, 10)
        pod.predictions(CHALLENGER, *counts)
        verdict = watch.look()
    assert reason(verdict) == "PredictionShift"
    assert isinstance(verdict, Broken)
    assert f"{where} than the champion's" in verdict.message


def test_predictions_that_shift_by_less_than_allowed_do_not(watch: Watch, pod: Pod) -> None:
    watch.look()
    for _ in range(100):
        pod.serve(50, 50)
        pod.predictions(CHAMPION, 10, 10, 10, 10, 10)
        pod.predictions(CHALLENGER, 8, 8, 10, 12, 12)
        assert not isinstance(watch.look(), Broken)


def test_any_shift_may_be_allowed(pod: Pod) -> None:
    watch = Watch(pod, max_prediction_shift=0.5)
    watch.look()
    for _ in range(30):
        pod.serve(50, 50)
        pod.predictions(CHAMPION, 50, 0, 0, 0, 0)
        pod.predictions(CHALLENGER, 0, 0, 0, 0, 50)
        assert not isinstance(watch.look(), Broken)


def test_what_was_counted_before_the_first_look_is_no_comparison_but_a_hard_failure_is_one() -> None:
    before = Pod(requests=1_000_000)
    before.serve(0, 100_000, error=50_000)
    assert isinstance(Watch(before).look(), Waiting)
    before.serve(0, 1, not_a_number=1)
    assert reason(Watch(before).look()) == "NotANumber"


def test_a_challenger_that_is_given_traffic_again_is_judged_by_what_it_does_then() -> None:
    before = Pod()
    before.serve(0, 100, not_a_number=3)
    watch = Watch(before, forgive=True)
    assert isinstance(watch.look(), Waiting)
    before.serve(100, 100)
    assert isinstance(watch.look(), Healthy)
    before.serve(0, 1, not_a_number=1)
    assert reason(watch.look()) == "NotANumber"


def test_pods_add_up_and_may_come_and_go() -> None:
    one, two = Pod(), Pod()
    watch = Watch(one, two)
    watch.look()
    for pod in (one, two):
        pod.serve(30, 30)
    verdict = watch.look()
    assert isinstance(verdict, Healthy)
    assert "in 60 requests" in verdict.message
    away = watch.pods.pop("pod-1")
    for pod in (one, two):
        pod.serve(10, 30)
    watch.look()
    watch.pods["pod-1"] = away  # it did not answer in time: nothing is lost
    verdict = watch.look()
    assert isinstance(verdict, Healthy)
    assert verdict.message == "0 faults in 120 requests; champion 0 in 80"


def test_a_pod_that_begins_anew_counts_from_zero(watch: Watch, pod: Pod) -> None:
    pod.serve(500, 500)
    watch.look()
    pod.counts.clear()
    pod.started = 2.0
    pod.serve(70, 60)
    verdict = watch.look()
    assert isinstance(verdict, Healthy)
    assert verdict.message == "0 faults in 60 requests; champion 0 in 70"


def test_serving_processes_that_end_beside_it_break_the_guard(watch: Watch, pod: Pod) -> None:
    watch.look()
    pod.started = 2.0
    assert not isinstance(watch.look(), Broken)
    pod.started = 3.0
    assert reason(watch.look()) == "PodsRestarted"


def test_faults_that_were_read_before_their_requests_count(watch: Watch, pod: Pod) -> None:
    watch.look()
    pod.counts[CHALLENGER, FAULTS, "error"] += 4
    assert reason(watch.look()) == "RepeatedErrors"

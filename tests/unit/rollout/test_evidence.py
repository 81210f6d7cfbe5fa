"""How much worse a challenger is at most, and which step that is enough for."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from windtunnel.rollout.comparisons import Comparisons
from windtunnel.rollout.counters import CHALLENGER, FAULTS, REQUESTS, Counts
from windtunnel.rollout.evidence import FACTORS, Bound, missing_for
from windtunnel.spec.servedmodel import EvidenceTest, GuardSettings, RolloutEvidence
from windtunnel.stats.sequential import events

MARGINS = [0.005 * factor for factor in FACTORS]


def shown(bound: Bound, blocks: int, asked: int = 50, failed: float = 0.0) -> list[float | None]:
    seen: list[float | None] = [bound.at_most]
    for _ in range(blocks):
        bound.update(events(asked, failed), events(asked, 0))
        if bound.at_most != seen[-1]:
            seen.append(bound.at_most)
    return seen


def test_wide_margins_are_shown_first_and_the_narrowest_by_some_1100_requests_without_a_fault() -> None:
    assert shown(Bound(0.005), 25) == [None, *MARGINS]
    assert not any(at_most == 0.005 for at_most in shown(Bound(0.005), 15))


def test_a_challenger_that_fails_is_shown_nothing_that_is_not_so() -> None:
    assert shown(Bound(0.005), 200, failed=2.0) == [None, 0.1]  # it fails in 4 %


def test_nothing_is_shown_without_the_champion() -> None:
    bound = Bound(0.005)
    for _ in range(100):
        bound.update(events(50, 0), {})
    assert bound.at_most is None


def test_it_goes_on_from_where_an_earlier_one_was() -> None:
    whole, first = Bound(0.005), Bound(0.005)
    shown(whole, 12)
    shown(first, 6)
    second = Bound(0.005, None, first.capital, first.at_most)
    shown(second, 6)
    assert second.at_most == whole.at_most
    assert second.capital[-1] == pytest.approx(whole.capital[-1], rel=0.1)


@pytest.mark.parametrize(("limit", "goes_on"), [(0.01, True), (0.02, False)])
def test_what_speaks_against_one_limit_says_nothing_of_another(limit: float, goes_on: bool) -> None:
    first = Comparisons(GuardSettings(max_error_rate=0.01), Counts())
    first.update(Counts({(CHALLENGER, REQUESTS): 100, (CHALLENGER, FAULTS, "error"): 5}))
    (before,) = (test for test in first.found() if test.name == "limit")
    assert before.capital[0] > 1.0
    second = Comparisons(GuardSettings(max_error_rate=limit), Counts(), first.found())
    (after,) = (test for test in second.found() if test.name == "limit")
    assert after.capital == (before.capital if goes_on else (0.0,))


def test_what_nobody_could_exceed_needs_no_proof() -> None:
    bound = Bound(0.2)
    assert bound.at_most == 0.5
    assert Bound(0.5).is_within


def evidence(at_most: float | None, allowed: float = 0.005, name: str = "faults") -> RolloutEvidence:
    test = EvidenceTest.model_validate({"name": name, "allowed": allowed, "atMost": at_most})
    return RolloutEvidence(since=datetime(2026, 1, 1, tzinfo=UTC), tests=(test,))


@pytest.mark.parametrize(
    ("traffic", "at_most"), [(1, 0.1), (5, 0.1), (25, 0.02), (50, 0.01), (51, 0.005), (100, 0.005)]
)
def test_a_step_may_cost_what_is_allowed_and_no_more(traffic: int, at_most: float) -> None:
    assert missing_for(traffic, evidence(at_most)) == []
    if at_most < 0.1:
        assert missing_for(traffic, evidence(at_most * 2)) != []


def test_what_is_missing_is_told() -> None:
    assert missing_for(100, evidence(0.02)) == ["faults at most 0.50% worse (shown is 2.00%)"]
    assert missing_for(50, evidence(None)) == ["faults at most 1.00% worse (nothing is shown yet)"]


def test_the_limit_is_nothing_to_be_shown() -> None:
    assert missing_for(100, evidence(None, name="limit")) == []

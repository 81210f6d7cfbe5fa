"""Evidence for a challenger: by how much it may be worse than the champion, at most.

The guard's tests show that a challenger is worse than allowed; these are the same tests turned round, and
show that it is not. A step that gives the challenger p percent of the requests can cost users p percent of
what the challenger is worse by, so the margin that has to be shown is what is allowed times 100/p: much is
shown soon, and the seat itself needs all of it. That is why there is a test for each of a few margins.

A challenger that is worse by a margin or more is ever shown to be within it with a chance of at most ALPHA,
however often one looks; and as the seat needs every comparison to say so, one that is at the margin in any of
them gets it with a chance of at most ALPHA.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from windtunnel.stats.sequential import Comparison

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from windtunnel.spec.servedmodel import EvidenceTest, RolloutEvidence

ALPHA: Final = 0.04
FACTORS: Final = (20.0, 10.0, 4.0, 2.0, 1.0)
"""Multiples of what is allowed that are tested: for steps of 5, 10, 25, 50 and 100 percent."""
LEAST: Final = 0.001
"""What is allowed, at least: less would take more requests than anybody waits for."""
_TRIVIAL: Final = 0.5
"""A margin that needs no proof."""
_GAPS: Final = {1.0: 0.5, 3.0: 0.25, 6.0: 0.25}
"""Bets by how many margins the truth lies below the null: an equal challenger lies one below."""


def shown_margin(allowed: float) -> float:
    """The margin that is shown where so much is allowed."""
    return max(allowed, LEAST)


class Bound:
    """How much worse than the champion the challenger is at most, on values in [0, 1].

    known: what its values are expected to look like; see Comparison. capital: of an earlier bound of the same
    kind, to go on from.
    """

    def __init__(
        self,
        allowed: float,
        known: Mapping[float, float] | None = None,
        capital: Sequence[float] = (),
        at_most: float | None = None,
    ) -> None:
        self.allowed = shown_margin(allowed)
        self.at_most = at_most
        margins = [self.allowed * factor for factor in FACTORS if self.allowed * factor < _TRIVIAL]
        start = dict(zip(margins, capital, strict=False))
        self._tests = {}
        for margin in margins:
            gaps = {margin * times: share for times, share in _GAPS.items()}
            self._tests[margin] = Comparison(-margin, known, gaps, start.get(margin, 0.0))
        if len(margins) < len(FACTORS) and at_most is None:
            self.at_most = _TRIVIAL

    @property
    def is_within(self) -> bool:
        """Whether it is shown to be no worse than allowed."""
        return self.at_most is not None and self.at_most <= self.allowed

    @property
    def capital(self) -> list[float]:
        return [test.log_capital for test in self._tests.values()]

    def update(self, challenger: Mapping[float, float], champion: Mapping[float, float]) -> None:
        """Take a block of new observations in, counts by value."""
        for margin, test in self._tests.items():
            if self.at_most is None or margin < self.at_most:
                test.update(champion, challenger)
        for margin, test in self._tests.items():
            if self.at_most is not None and margin >= self.at_most:
                continue
            if test.p_value > ALPHA:
                break  # who is not within a wide margin is not within a narrow one
            self.at_most = margin


@dataclass(frozen=True)
class Evidence:
    """What was seen since the guard began to look."""

    requests: int = 0
    faults: int = 0
    champion_requests: int = 0
    champion_faults: int = 0
    tests: tuple[EvidenceTest, ...] = ()

    def __str__(self) -> str:
        return (
            f"{self.faults:,} faults in {self.requests:,} requests; "
            f"champion {self.champion_faults:,} in {self.champion_requests:,}"
        )

    def __add__(self, other: Evidence) -> Evidence:
        """Both, one after the other; the tests are those of the second."""
        return Evidence(
            self.requests + other.requests,
            self.faults + other.faults,
            self.champion_requests + other.champion_requests,
            self.champion_faults + other.champion_faults,
            other.tests,
        )


_COMPARED: Final = {
    "faults": "faults",
    "latency": "slow answers",
    "higher": "predictions higher",
    "lower": "predictions lower",
}
"""Tests that must be passed, in words."""


def missing_for(traffic: int, evidence: RolloutEvidence) -> list[str]:
    """What is still to be shown before the challenger may have so many percent of the requests; empty:
    nothing."""
    missing = []
    for test in evidence.tests:
        needed = test.allowed * 100.0 / traffic * (1.0 + 1e-9)
        if test.name not in _COMPARED or needed >= _TRIVIAL:
            continue
        if test.at_most is None or test.at_most > needed:
            shown = "nothing is shown yet" if test.at_most is None else f"shown is {test.at_most:.2%}"
            missing.append(f"{_COMPARED[test.name]} at most {needed:.2%} worse ({shown})")
    return missing

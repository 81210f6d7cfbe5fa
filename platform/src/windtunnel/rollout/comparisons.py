"""Challenger against champion by always-valid tests, on what both counted of the same traffic.

Together they take back a challenger that did nothing wrong with a chance of at most ALPHA in all its time,
however often one looks (see `stats.sequential`).
"""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Final, Literal

from windtunnel.rollout.counters import CHALLENGER, CHAMPION, FAULTS, PREDICTIONS, REQUESTS, SECONDS, Counts
from windtunnel.rollout.evidence import Bound, shown_margin
from windtunnel.spec.servedmodel import EvidenceTest
from windtunnel.stats.sequential import Comparison, MeanTest, events

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from windtunnel.spec.servedmodel import GuardSettings

ALPHA: Final = 0.05
_SHARES: Final = {"faults": 0.4, "limit": 0.1, "latency": 0.2, "higher": 0.15, "lower": 0.15}
"""Of ALPHA, by test."""
_SLOW_MARGIN: Final = 0.01
_NEVER_SLOW: Final = 0.002
"""Seconds; nobody notices."""
_REFERENCE: Final = 100
"""Predictions of the champion that must be known before times and values are compared with them."""
_HISTORY: Final = 1000
"""Earlier requests of the champion that tell the tests what to expect, at most."""
_RANKS: Final = {0.05 + step / 10: 5.0 for step in range(10)}
"""What ranks of predictions among the champion's look like when nothing has shifted."""


class Comparisons:
    """The tests of one challenger; a block of counts goes to all of them.

    earlier: what the champion had counted before. before: what earlier tests of the same challenger had
    found, to go on from.
    """

    def __init__(self, settings: GuardSettings, earlier: Counts, before: Iterable[EvidenceTest] = ()) -> None:
        self._settings = settings
        known = {test.name: test for test in before}
        asked, failed = earlier[CHAMPION, REQUESTS], earlier[CHAMPION, FAULTS]
        weight = min(1.0, _HISTORY / asked) if asked else 0.0
        expected = events(50.0 + weight * asked, 0.5 + weight * failed)
        most, shift = settings.error_margin, settings.max_prediction_shift
        self._faults = _Pair("faults", most, expected, known.get("faults"))
        self._latency: _Pair | None = _Pair("latency", _SLOW_MARGIN, None, known.get("latency"))
        self._higher = _Pair("higher", shift, _RANKS, known.get("higher")) if shift < 0.5 else None
        self._lower = _Pair("lower", shift, _RANKS, known.get("lower")) if shift < 0.5 else None
        limit, before_limit = settings.max_error_rate, known.get("limit")
        if before_limit is not None and before_limit.allowed != limit:
            before_limit = None  # another question
        self._limit = (
            MeanTest(limit, start=_last(before_limit)) if limit is not None and 0.0 < limit < 1.0 else None
        )
        self._times = _histogram(earlier, CHAMPION, SECONDS)
        self._values = _histogram(earlier, CHAMPION, PREDICTIONS)

    def update(self, block: Counts) -> tuple[str, str] | None:
        """(reason, what) once a test has decided. Thresholds come from before the block, as the tests ask."""
        return self._judge_faults(block) or self._judge_latency(block) or self._judge_predictions(block)

    def found(self) -> tuple[EvidenceTest, ...]:
        """What each test says by now; none is told of that cannot say anything here."""
        pairs = (self._faults, self._latency, self._higher, self._lower)
        tests = [pair.found() for pair in pairs if pair is not None]
        if self._limit is not None:
            limit = EvidenceTest(
                name="limit",
                conclusion="Worse" if _sure(self._limit, "limit") else "Unclear",
                allowed=self._settings.max_error_rate or 0.0,
                capital=(round(self._limit.log_capital, 3),),
            )
            tests.append(limit)
        return tuple(tests)

    def _judge_faults(self, block: Counts) -> tuple[str, str] | None:
        asked, failed = requests(block), faults(block).total()
        of_champion = block[CHAMPION, REQUESTS]
        own = events(asked, failed)
        self._faults.update(own, events(of_champion, min(block[CHAMPION, FAULTS], of_champion)))
        if self._faults.is_worse:
            margin = self._settings.error_margin
            return "ErrorRate", f"it fails more often than the champion by over {margin:.2%} of requests"
        limit = self._settings.max_error_rate
        if limit == 0.0 and failed:
            return "ErrorLimit", "a request failed, and maxErrorRate is 0"
        if self._limit is not None and asked:
            self._limit.update(own)
            if _sure(self._limit, "limit"):
                return "ErrorLimit", f"it fails in more than {limit:.2%} of requests"
        return None

    def _judge_latency(self, block: Counts) -> tuple[str, str] | None:
        own, theirs = _histogram(block, CHALLENGER, SECONDS), _histogram(block, CHAMPION, SECONDS)
        known = self._times.copy()
        self._times.update(theirs)
        if known.total() < _REFERENCE or self._latency is None:
            return None
        bounds = sorted({*known, *own, *theirs})
        usual = next(bound for bound in bounds if _above(known, bound) <= 0.01 * known.total())
        least = max(self._settings.max_latency_ratio * usual, _NEVER_SLOW)
        slow = next((bound for bound in bounds if bound >= least), math.inf)
        if math.isinf(slow):
            self._latency = None  # the buckets end below what would be slow
            return None
        self._latency.update(
            events(own.total(), _above(own, slow)), events(theirs.total(), _above(theirs, usual))
        )
        if not self._latency.is_worse:
            return None
        return "Latency", (
            f"over 1 % of its predictions take longer than {1000 * slow:g} ms; "
            f"99 % of the champion's take at most {1000 * usual:g} ms"
        )

    def _judge_predictions(self, block: Counts) -> tuple[str, str] | None:
        if self._higher is None or self._lower is None:
            return None
        own, theirs = _histogram(block, CHALLENGER, PREDICTIONS), _histogram(block, CHAMPION, PREDICTIONS)
        known = self._values.copy()
        self._values.update(theirs)
        if known.total() < _REFERENCE:
            return None
        own_ranks, their_ranks = _ranked(own, known), _ranked(theirs, known)
        self._higher.update(own_ranks, their_ranks)
        self._lower.update(_mirrored(own_ranks), _mirrored(their_ranks))
        most = self._settings.max_prediction_shift
        for pair, name in ((self._higher, "higher"), (self._lower, "lower")):
            if pair.is_worse:
                return "PredictionShift", (
                    f"its predictions are {name} than the champion's: the chance that one exceeds one of the "
                    f"champion's is not within {most:g} of 1/2"
                )
        return None


class _Pair:
    """The question whether the challenger is worse than allowed, asked both ways round."""

    def __init__(
        self,
        name: Literal["faults", "latency", "higher", "lower"],
        margin: float,
        known: Mapping[float, float] | None,
        before: EvidenceTest | None,
    ) -> None:
        self._name: Final = name
        if before is not None and before.allowed != shown_margin(margin):
            before = None  # another question
        self.worse = Comparison(margin, known, start=_last(before))
        capital = before.capital[:-1] if before else ()
        self._bound = Bound(margin, known, capital, before.at_most if before else None)

    @property
    def is_worse(self) -> bool:
        return _sure(self.worse, self._name)

    def update(self, challenger: Mapping[float, float], champion: Mapping[float, float]) -> None:
        self.worse.update(challenger, champion)
        self._bound.update(challenger, champion)

    def found(self) -> EvidenceTest:
        bound = self._bound
        return EvidenceTest(
            name=self._name,
            conclusion="Worse" if self.is_worse else "NotWorse" if bound.is_within else "Unclear",
            allowed=bound.allowed,
            at_most=bound.at_most,
            capital=tuple(round(one, 3) for one in (*bound.capital, self.worse.log_capital)),
        )


def _last(before: EvidenceTest | None) -> float:
    """Where the test for "worse" stood."""
    return before.capital[-1] if before and before.capital else 0.0


def _sure(test: Comparison | MeanTest, name: str) -> bool:
    return test.p_value <= ALPHA * _SHARES[name]


def requests(counts: Counts) -> int:
    """Of the challenger; no fewer than its faults, whichever of the two was read first."""
    return max(counts[CHALLENGER, REQUESTS], faults(counts).total())


def faults(counts: Counts) -> Counter[str]:
    """The challenger's, by reason."""
    return Counter(
        {key[2]: number for key, number in counts.items() if key[0] == CHALLENGER and key[1] == FAULTS}
    )


def _histogram(counts: Counts, who: str, what: str) -> Counter[float]:
    """Number of events by the upper bound of their bucket."""
    return Counter(
        {float(key[2]): number for key, number in counts.items() if key[0] == who and key[1] == what}
    )


def _above(histogram: Counter[float], bound: float) -> int:
    return sum(number for upper, number in histogram.items() if upper > bound)


def _ranked(histogram: Counter[float], reference: Counter[float]) -> dict[float, float]:
    """Number of events by their mean rank in the reference: the share of it that lies below, and half of
    that in the same bucket."""
    size, below = reference.total(), 0
    ranks: Counter[float] = Counter()
    for bound in sorted({*histogram, *reference}):
        inside = reference[bound]
        if number := histogram[bound]:
            ranks[(below + inside / 2.0) / size] += number
        below += inside
    return dict(ranks)


def _mirrored(ranks: Mapping[float, float]) -> dict[float, float]:
    return {1.0 - rank: number for rank, number in ranks.items()}

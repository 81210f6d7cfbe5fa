"""Challenger against champion by always-valid tests, on what both counted of the same traffic.

Together they take back a challenger that did nothing wrong with a chance of at most ALPHA in all its time,
however often one looks (see `stats.sequential`).
"""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Final

from windtunnel.rollout.counters import CHALLENGER, CHAMPION, FAULTS, PREDICTIONS, REQUESTS, SECONDS, Counts
from windtunnel.stats.sequential import Comparison, MeanTest, events

if TYPE_CHECKING:
    from collections.abc import Mapping

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
    """The tests of one challenger; a block of counts goes to all of them."""

    def __init__(self, settings: GuardSettings, earlier: Counts) -> None:
        self._settings = settings
        asked, failed = earlier[CHAMPION, REQUESTS], earlier[CHAMPION, FAULTS]
        weight = min(1.0, _HISTORY / asked) if asked else 0.0
        expected = events(50.0 + weight * asked, 0.5 + weight * failed)
        self._faults = Comparison(settings.error_margin, expected)
        limit = settings.max_error_rate
        self._limit = MeanTest(limit) if limit is not None and 0.0 < limit < 1.0 else None
        self._latency = Comparison(_SLOW_MARGIN)
        self._higher = Comparison(settings.max_prediction_shift, _RANKS)
        self._lower = Comparison(settings.max_prediction_shift, _RANKS)
        self._times = _histogram(earlier, CHAMPION, SECONDS)
        self._values = _histogram(earlier, CHAMPION, PREDICTIONS)

    def update(self, block: Counts) -> tuple[str, str] | None:
        """(reason, what) once a test has decided. Thresholds come from before the block, as the tests ask."""
        return self._judge_faults(block) or self._judge_latency(block) or self._judge_predictions(block)

    def _judge_faults(self, block: Counts) -> tuple[str, str] | None:
        asked, failed = requests(block), faults(block).total()
        of_champion = block[CHAMPION, REQUESTS]
        own = events(asked, failed)
        self._faults.update(own, events(of_champion, min(block[CHAMPION, FAULTS], of_champion)))
        if _sure(self._faults, "faults"):
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
        if known.total() < _REFERENCE:
            return None
        bounds = sorted({*known, *own, *theirs})
        usual = next(bound for bound in bounds if _above(known, bound) <= 0.01 * known.total())
        least = max(self._settings.max_latency_ratio * usual, _NEVER_SLOW)
        slow = next((bound for bound in bounds if bound >= least), math.inf)
        if math.isinf(slow):
            return None
        self._latency.update(
            events(own.total(), _above(own, slow)), events(theirs.total(), _above(theirs, usual))
        )
        if not _sure(self._latency, "latency"):
            return None
        return "Latency", (
            f"over 1 % of its predictions take longer than {1000 * slow:g} ms; "
            f"99 % of the champion's take at most {1000 * usual:g} ms"
        )

    def _judge_predictions(self, block: Counts) -> tuple[str, str] | None:
        most = self._settings.max_prediction_shift
        if most >= 0.5:
            return None
        own, theirs = _histogram(block, CHALLENGER, PREDICTIONS), _histogram(block, CHAMPION, PREDICTIONS)
        known = self._values.copy()
        self._values.update(theirs)
        if known.total() < _REFERENCE:
            return None
        own_ranks, their_ranks = _ranked(own, known), _ranked(theirs, known)
        self._higher.update(own_ranks, their_ranks)
        self._lower.update(_mirrored(own_ranks), _mirrored(their_ranks))
        for test, name in ((self._higher, "higher"), (self._lower, "lower")):
            if _sure(test, name):
                return "PredictionShift", (
                    f"its predictions are {name} than the champion's: the chance that one exceeds one of the "
                    f"champion's is not within {most:g} of 1/2"
                )
        return None


def _sure(test: Comparison | MeanTest, name: str) -> bool:
    return test.p_value <= ALPHA * _SHARES[name]


def requests(counts: Counts) -> int:
    """Of the challenger; no fewer than its faults, whichever of the two was read first."""
    return max(counts[CHALLENGER, REQUESTS], faults(counts).total())


def faults(counts: Counts) -> Counter[str]:
    """The challenger's, by reason."""
    return Counter({key[2]: number for key, number in counts.items() if key[:2] == (CHALLENGER, FAULTS)})


def _histogram(counts: Counts, who: str, what: str) -> Counter[float]:
    """Number of events by the upper bound of their bucket."""
    return Counter({float(key[2]): number for key, number in counts.items() if key[:2] == (who, what)})


def _above(histogram: Counter[float], bound: float) -> int:
    return sum(number for upper, number in histogram.items() if upper > bound)


def _ranked(histogram: Counter[float], reference: Counter[float]) -> dict[float, float]:
    """Number of events by their mean rank in the reference: the share of it that lies below, and half of
    that in the same bucket."""
    size = reference.total()
    ranks: Counter[float] = Counter()
    for bound, number in histogram.items():
        if number:
            below = size - _above(reference, bound) - reference[bound]
            ranks[(below + reference[bound] / 2.0) / size] += number
    return dict(ranks)


def _mirrored(ranks: Mapping[float, float]) -> dict[float, float]:
    return {1.0 - rank: number for rank, number in ranks.items()}

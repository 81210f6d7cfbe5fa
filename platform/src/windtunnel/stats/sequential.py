"""Always-valid tests of means in [0, 1]: one may look after every request, and the false rate stays.

Each test is a bet against a null hypothesis. The capital E starts at 1 and is multiplied by factors that are
1 on average, or less, while the null is true; so the chance that it *ever* reaches 1/alpha is at most alpha,
however often and whenever one looks (Ville 1939). Nothing is approximated and there is no least number of
requests: ten faults in a row are as good a reason as two hundred among five thousand.

    Comparison   the challenger's mean exceeds the champion's by at most `margin` (two samples)
    MeanTest     the mean is at most `limit` (one sample; also paired differences)

The two-sample factor of a block of requests, with the champion's anchor a and the challenger's, a + margin:

    prod over challenger (1 + kappa/n (x - a - margin)) * prod over champion (1 - kappa/m (y - a))

Its mean is (1 + kappa/n (mu - a - margin))^n (1 - kappa/m (nu - a))^m <= exp(kappa (mu - nu - margin)): at
most 1 where mu - nu <= margin, for whatever a and kappa >= 0 were chosen before the block was seen. They are
chosen as Turner and Gruenwald choose them: for 0/1 data the factor is the likelihood ratio between an
alternative (mu*, nu*) and the nearest point of the null, nearest by Kullback-Leibler divergence. nu* is the
champion's mean so far; mu* = nu* + margin + gap, and the capital is spread over several gaps (a mixture), so
that both a total failure and a small one are found soon.

Because each block stands for itself, the means may drift with the hour as long as both models see the same
traffic; the shares of traffic may change between blocks. Requests count as independent: one key that is sent
a thousand times is a thousand witnesses who saw the same thing.

Sources: Turner, Ly and Gruenwald 2024, "Generic E-variables for exact sequential k-sample tests that allow
for optional stopping"; Turner and Gruenwald 2023, "Exact anytime-valid confidence intervals for contingency
tables and beyond"; Waudby-Smith and Ramdas 2024, "Estimating means of bounded random variables by betting".
Pure Python: the controller's image holds no numpy.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

GAPS: Final[Mapping[float, float]] = {0.015: 0.25, 0.04: 0.5, 0.15: 0.125, 0.6: 0.125}
"""How far beyond the null the truth may lie, and the share of the capital that is bet on it. Few, because
each costs evidence; a total failure is found within five requests all the same."""

_SURE: Final = 1e-4
"""Means are taken to lie this far from 0 and 1, else one surprise would be worth everything."""
_MOST: Final = 0.95
"""Of the capital, what a single request may cost."""
_LEAST_DISPERSION: Final = 0.02
_ROUNDS: Final = 4
"""Of the search for the nearest point of the null; three are enough for 1 % of its place, and validity does
not depend on it."""


def events(requests: float, happened: float) -> dict[float, float]:
    """A sample of 0/1 observations: of so many requests, so many had it."""
    return {0.0: requests - happened, 1.0: happened}


class _Capital:
    """E, spread over bets in shares that sum to 1; the highest that it ever was counts."""

    def __init__(self, shares: Iterable[float], start: float) -> None:
        self._logs = [start + math.log(share) for share in shares]
        self.log_value = start
        self._highest = max(0.0, start)

    def multiply(self, log_factors: Sequence[float]) -> None:
        self._logs = [log + factor for log, factor in zip(self._logs, log_factors, strict=True)]
        top = max(self._logs)
        self.log_value = top + math.log(sum([math.exp(log - top) for log in self._logs]))
        self._highest = max(self._highest, self.log_value)

    @property
    def p_value(self) -> float:
        return math.exp(-self._highest)


class Comparison:
    """Null hypothesis: the challenger's mean exceeds the champion's by at most `margin`.

    margin: above -1, below 1; a negative margin turns the question round ("is at least so much lower").
    known: what the champion's observations are expected to look like, as counts by value, e.g. its own from
    before; about a hundred are enough. It moves the power, never the false rate.
    start: `log_capital` of an earlier test of the same null hypothesis, to go on from there.
    """

    def __init__(
        self,
        margin: float,
        known: Mapping[float, float] | None = None,
        gaps: Mapping[float, float] = GAPS,
        start: float = 0.0,
    ) -> None:
        self._margin = margin
        self._gaps = gaps
        self._known = _Moments(known or events(50.0, 0.5))
        self._capital = _Capital(gaps.values(), start)
        self._challenger: dict[float, float] = {}
        self._champion: dict[float, float] = {}

    @property
    def p_value(self) -> float:
        """The null may be rejected for good once this is at most alpha."""
        return self._capital.p_value

    @property
    def log_capital(self) -> float:
        """What the evidence amounts to now: all that a test that goes on from here needs to know."""
        return self._capital.log_value

    def update(self, challenger: Mapping[float, float], champion: Mapping[float, float]) -> None:
        """Take a block of new observations in: counts by value (0 to 1) of either model.

        A block without one of the two waits for it: it says nothing on their difference.
        """
        _add(self._challenger, challenger)
        _add(self._champion, champion)
        n, m = sum(self._challenger.values()), sum(self._champion.values())
        if not n or not m:
            return
        self._capital.multiply([self._factor(gap, n, m) for gap in self._gaps])
        self._known.add(self._champion)
        self._challenger.clear()
        self._champion.clear()

    def _factor(self, gap: float, n: float, m: float) -> float:
        """Log of the block's factor for the alternative that lies `gap` beyond the null."""
        margin = self._margin
        low, high = max(0.0, -margin) + _SURE, min(1.0, 1.0 - margin) - _SURE
        champion = min(max(self._known.mean, low), high)
        challenger = min(champion + gap, high)  # less the margin
        if challenger <= champion:
            return 0.0
        anchor, kappa = (champion + challenger) / 2.0, 0.0
        for _ in range(_ROUNDS):
            of_champion = m / (anchor * (1.0 - anchor))
            of_challenger = n / ((anchor + margin) * (1.0 - anchor - margin))
            anchor = (of_champion * champion + of_challenger * challenger) / (of_champion + of_challenger)
            kappa = of_challenger * (challenger - anchor)
        kappa = min(kappa / self._known.dispersion, _MOST * n / (anchor + margin), _MOST * m / (1.0 - anchor))
        return _log_product(self._challenger, kappa / n, anchor + margin) + _log_product(
            self._champion, -kappa / m, anchor
        )


class MeanTest:
    """Null hypothesis: the mean of values in [0, 1] is at most `limit` (above 0, below 1).

    For paired differences d in [-1, 1] and a margin, give (1 + d) / 2 and the limit (1 + margin) / 2.
    """

    def __init__(self, limit: float, gaps: Mapping[float, float] = GAPS, start: float = 0.0) -> None:
        self._limit = limit
        self._gaps = gaps
        self._known = _Moments(events(2.0, 2.0 * limit))
        self._capital = _Capital(gaps.values(), start)

    @property
    def p_value(self) -> float:
        """The null may be rejected for good once this is at most alpha."""
        return self._capital.p_value

    @property
    def log_capital(self) -> float:
        """See Comparison."""
        return self._capital.log_value

    def update(self, values: Mapping[float, float]) -> None:
        """Take a block of new observations in: counts by value."""
        limit = self._limit
        spread = limit * (1.0 - limit) * self._known.dispersion
        bets = [min(min(gap, 1.0 - limit) / spread, _MOST / limit) for gap in self._gaps]
        self._capital.multiply([_log_product(values, bet, limit) for bet in bets])
        self._known.add(values)

    def update_each(self, values: Iterable[float]) -> None:
        """The same for single observations in their order."""
        for value in values:
            self.update({value: 1.0})


class _Moments:
    """Mean of what was seen so far, and how its variance compares with that of 0/1 data of that mean."""

    def __init__(self, start: Mapping[float, float]) -> None:
        self._count = self._sum = self._squares = 0.0
        self.add(start)

    def add(self, values: Mapping[float, float]) -> None:
        for value, count in values.items():
            self._count += count
            self._sum += count * value
            self._squares += count * value * value

    @property
    def mean(self) -> float:
        return self._sum / self._count

    @property
    def dispersion(self) -> float:
        mean = self.mean
        most = mean * (1.0 - mean)
        if most <= 0.0:
            return 1.0
        return min(max((self._squares / self._count - mean * mean) / most, _LEAST_DISPERSION), 1.0)


def _add(to: dict[float, float], values: Mapping[float, float]) -> None:
    for value, count in values.items():
        to[value] = to.get(value, 0.0) + count


def _log_product(values: Mapping[float, float], bet: float, anchor: float) -> float:
    total = 0.0
    for value, count in values.items():
        if count:
            total += count * math.log1p(bet * (value - anchor))
    return total

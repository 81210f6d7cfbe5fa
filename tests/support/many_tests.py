"""Many always-valid tests at once, as arrays: `stats.sequential` for a thousand runs side by side.

The controller's image holds no numpy, so the rule itself is plain Python; this second copy exists only so
that a thousand runs take a second. tests/component/stats holds it against the real one, look by look.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from windtunnel.stats.sequential import GAPS

if TYPE_CHECKING:
    from collections.abc import Mapping

Floats = Any
"""An array of floats, one for each run, or one float for all."""
Sample = tuple[Any, Any]
"""(values [K, runs], how often each came [K, runs]); [K, 1] where it is the same in all runs."""

_SURE: Final = 1e-4
_MOST: Final = 0.95
_LEAST_DISPERSION: Final = 0.02
_ROUNDS: Final = 4


def events(requests: Floats, happened: Floats) -> Sample:
    """0/1 observations: of so many requests, so many had it."""
    requests, happened = np.broadcast_arrays(requests, happened)
    return np.array([[0.0], [1.0]]), np.stack([requests - happened, happened]).reshape(2, -1).astype(float)


def singles(values: Floats) -> Sample:
    """One observation in each run."""
    return np.atleast_2d(values), np.ones((1, 1))


class _Capital:
    def __init__(self, shares: Mapping[float, float], runs: int) -> None:
        self._logs = np.log(np.array(list(shares.values())))[:, None] + np.zeros(runs)
        self.now, self.highest = np.zeros(runs), np.zeros(runs)

    def multiply(self, log_factors: Any, live: Any) -> None:
        self._logs = np.where(live, self._logs + log_factors, self._logs)
        top = self._logs.max(axis=0)
        self.now = top + np.log(np.exp(self._logs - top).sum(axis=0))
        self.highest = np.maximum(self.highest, self.now)


class _Moments:
    def __init__(self, start: Sample, runs: int) -> None:
        self._count, self._sum, self._squares = np.zeros(runs), np.zeros(runs), np.zeros(runs)
        self.add(start, True)

    def add(self, sample: Sample, live: Any) -> None:
        values, counts = sample
        self._count = self._count + np.where(live, counts.sum(axis=0), 0.0)
        self._sum = self._sum + np.where(live, (counts * values).sum(axis=0), 0.0)
        self._squares = self._squares + np.where(live, (counts * values * values).sum(axis=0), 0.0)

    @property
    def mean(self) -> Any:
        return self._sum / self._count

    @property
    def dispersion(self) -> Any:
        mean = self.mean
        most = mean * (1.0 - mean)
        usual = np.where(most > 0.0, most, 1.0)
        found = np.clip((self._squares / self._count - mean * mean) / usual, _LEAST_DISPERSION, 1.0)
        return np.where(most > 0.0, found, 1.0)


class _Test:
    """What its capital tells."""

    _capital: _Capital

    @property
    def log_capital(self) -> Any:
        """By run."""
        return self._capital.now

    @property
    def p_value(self) -> Any:
        """By run."""
        return np.exp(-self._capital.highest)


class Comparison(_Test):
    """See stats.sequential; each block has observations of both models, in every run that lives."""

    def __init__(
        self, margin: float, runs: int, known: Sample | None = None, gaps: Mapping[float, float] = GAPS
    ) -> None:
        self._margin = margin
        self._gaps = np.array(list(gaps))[:, None]
        self._capital = _Capital(gaps, runs)
        self._known = _Moments(events(50.0, 0.5) if known is None else known, runs)

    def update(self, challenger: Sample, champion: Sample, live: Any = True) -> None:
        """Take a block in, in the runs that live."""
        margin, n, m = self._margin, challenger[1].sum(axis=0), champion[1].sum(axis=0)
        low, high = max(0.0, -margin) + _SURE, min(1.0, 1.0 - margin) - _SURE
        theirs = np.clip(self._known.mean, low, high)
        own = np.minimum(theirs + self._gaps, high)
        anchor, kappa = (theirs + own) / 2.0, np.zeros_like(own)
        for _ in range(_ROUNDS):
            of_theirs = m / (anchor * (1.0 - anchor))
            of_own = n / ((anchor + margin) * (1.0 - anchor - margin))
            anchor = (of_theirs * theirs + of_own * own) / (of_theirs + of_own)
            kappa = of_own * (own - anchor)
        kappa = np.minimum(kappa / self._known.dispersion, _MOST * n / (anchor + margin))
        kappa = np.minimum(kappa, _MOST * m / (1.0 - anchor))
        factors = _log_product(challenger, kappa / n, anchor + margin)
        factors += _log_product(champion, -kappa / m, anchor)
        self._capital.multiply(factors, live & (own > theirs))
        self._known.add(champion, live)


class MeanTest(_Test):
    """See stats.sequential."""

    def __init__(self, limit: float, runs: int, gaps: Mapping[float, float] = GAPS) -> None:
        self._limit = limit
        self._gaps = np.array(list(gaps))[:, None]
        self._capital = _Capital(gaps, runs)
        self._known = _Moments(events(2.0, 2.0 * limit), runs)

    def update(self, sample: Sample) -> None:
        """Take a block in."""
        limit = self._limit
        spread = limit * (1.0 - limit) * self._known.dispersion
        bets = np.minimum(np.minimum(self._gaps, 1.0 - limit) / spread, _MOST / limit)
        self._capital.multiply(_log_product(sample, bets, limit), True)
        self._known.add(sample, True)


def _log_product(sample: Sample, bets: Any, anchors: Any) -> Any:
    """By bet and run."""
    values, counts = sample
    return sum(
        count * np.log1p(bets * (value - anchors)) for value, count in zip(values, counts, strict=True)
    )

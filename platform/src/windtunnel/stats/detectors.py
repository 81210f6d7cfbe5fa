"""A sequential detector of a lasting change: has the mean of a stream of days moved away from zero?

Every day gives one number in units of its own standard error (what rows and days add together, see
block_means). While nothing has changed these are standard normal at most, so for any stake s the factor
exp(s z - s^2 / 2) is 1 on average, and capital that bets on it from any day on reaches 1/alpha with
probability alpha at most, however often one looks (Ville 1939). The first day of the change is unknown: the
capital is spread over all first days (1/2 on the first, 1/6 on the second, ... 1/(k (k + 1))), over a few
stakes and over the streams. This is an e-detector in the sense of Shin, Ramdas and Rinaldo 2023, with a
prior over the start in place of a sum, so that the chance of any false alarm ever is bounded, not their rate.

What counts is the capital of today, and no bet keeps more than it needs to raise the alarm: a change that is
over is forgotten within some quiet days, and one that lasts is not.

State is small and JSON, so the next run goes on where this one ended.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

STAKES: Final = (0.75, 1.5, 3.0, 6.0)
"""A change of z standard errors a day is found fastest at stake z."""
_MOST: Final = 12.0
"""No day counts for more standard errors than this."""
_SPARE: Final = 2.0
"""Beyond the threshold, so that one quiet day does not end an alarm."""


@dataclass
class _Bet:
    """One stake on one stream, in logarithms: capital since all starts so far, and the best single start."""

    started: float = -math.inf
    run: float = 0.0
    since: str = ""


@dataclass
class ChangeDetector:
    """Null hypothesis: every stream's days have mean zero or less, in units of their standard error."""

    streams: tuple[str, ...]
    alpha: float
    """Chance of a false alarm, ever."""
    days: int = 0
    last: str = ""
    """The newest day that was counted (ISO): days up to it are never counted again."""
    alarm: tuple[str, str] | None = None
    """The stream that spoke loudest when the alarm was raised, and the day on which its change most likely
    began; None while there is none."""
    bets: dict[str, list[_Bet]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in self.streams:
            self.bets.setdefault(name, [_Bet() for _ in STAKES])

    def update(self, day: str, scores: Mapping[str, float]) -> None:
        """Count one day: standard scores by stream; days come in order."""
        self.days += 1
        self.last = day
        entering = -math.log(self.days * (self.days + 1))
        for name in self.streams:
            score = min(max(scores[name], -_MOST), _MOST)
            for bet, stake in zip(self.bets[name], STAKES, strict=True):
                factor = stake * score - stake * stake / 2.0
                bet.started = min(_log_sum((bet.started, entering)) + factor, self._enough)
                if bet.run <= 0.0:
                    bet.run, bet.since = 0.0, day
                bet.run += factor
        if not self.detected:
            self.alarm = None
        elif self.alarm is None:
            self.alarm = self._strongest()

    @property
    def _enough(self) -> float:
        """Logarithm of what a single bet must hold to raise the alarm alone, and of a bit more."""
        return math.log(len(self.streams) * len(STAKES) / self.alpha) + _SPARE

    def _capital(self) -> float:
        waiting = -math.log(self.days + 1)
        share = -math.log(len(self.streams) * len(STAKES))
        logs = [_log_sum((bet.started, waiting)) for bets in self.bets.values() for bet in bets]
        return share + _log_sum(logs)

    @property
    def p_value(self) -> float:
        """At most alpha: there is a change. Never far below: the capital is bounded."""
        return math.exp(-max(0.0, self._capital()))

    @property
    def detected(self) -> bool:
        return self.p_value <= self.alpha

    def _strongest(self) -> tuple[str, str]:
        name, bet = max(
            ((name, bet) for name, bets in self.bets.items() for bet in bets), key=lambda one: one[1].run
        )
        return name, bet.since

    def to_json(self) -> dict[str, Any]:
        return {
            "days": self.days,
            "last": self.last,
            "alarm": list(self.alarm) if self.alarm else None,
            "bets": {
                name: [[_finite(bet.started), bet.run, bet.since] for bet in bets]
                for name, bets in self.bets.items()
            },
        }

    @classmethod
    def from_json(cls, streams: Sequence[str], alpha: float, found: Mapping[str, Any]) -> ChangeDetector:
        """Raises KeyError for the state of other streams."""
        bets = {
            name: [
                _Bet(-math.inf if started is None else started, run, since)
                for started, run, since in found["bets"][name]
            ]
            for name in streams
        }
        alarm = tuple(found["alarm"]) if found["alarm"] else None
        return cls(tuple(streams), alpha, found["days"], found["last"], alarm, bets)


def _log_sum(logs: Sequence[float]) -> float:
    top = max(logs)
    return top if math.isinf(top) else top + math.log(sum(math.exp(log - top) for log in logs))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None

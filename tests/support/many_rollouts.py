"""Many rollouts at once, as arrays: what `World` and `Driver` do in one, for counts of faults alone.

A second copy of the rule exists only so that a thousand runs take seconds; tests hold it against the real
one, run by run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from windtunnel.rollout.evidence import ALPHA, FACTORS
from windtunnel.stats.sequential import GAPS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

Floats = Any
"""An array of floats, one for each run."""
Failing = Callable[[int, bool, Any], Any]
"""(second, whether of the challenger, requests by run) → how many of them fail, by run."""

_SURE: Final = 1e-4
_MOST: Final = 0.95
_TOLD_SECONDS: Final = 2


class Comparison:
    """stats.sequential.Comparison on 0/1 data."""

    def __init__(self, margin: float, runs: int, gaps: Mapping[float, float]) -> None:
        self._margin = margin
        self._gaps = np.array(list(gaps))[:, None]
        self._logs = np.log(np.array(list(gaps.values())))[:, None] + np.zeros(runs)
        self._asked, self._failed = np.full(runs, 50.0), np.full(runs, 0.5)
        self.highest = np.zeros(runs)

    def update(self, n: Floats, x: Floats, m: Floats, y: Floats, live: NDArray[np.bool_]) -> None:
        """n, m requests of the challenger and the champion, of which x, y failed; in the runs that live."""
        margin = self._margin
        low, high = max(0.0, -margin) + _SURE, min(1.0, 1.0 - margin) - _SURE
        champion = np.clip(self._failed / self._asked, low, high)
        challenger = np.minimum(champion + self._gaps, high)
        anchor = (champion + challenger) / 2.0
        kappa = np.zeros_like(anchor)
        for _ in range(4):
            of_champion = m / (anchor * (1.0 - anchor))
            of_challenger = n / ((anchor + margin) * (1.0 - anchor - margin))
            anchor = (of_champion * champion + of_challenger * challenger) / (of_champion + of_challenger)
            kappa = of_challenger * (challenger - anchor)
        kappa = np.minimum(np.minimum(kappa, _MOST * n / (anchor + margin)), _MOST * m / (1.0 - anchor))
        factor = (
            x * np.log1p(kappa / n * (1.0 - anchor - margin))
            + (n - x) * np.log1p(-kappa / n * (anchor + margin))
            + y * np.log1p(-kappa / m * (1.0 - anchor))
            + (m - y) * np.log1p(kappa / m * anchor)
        )
        self._logs = np.where(live & (challenger > champion), self._logs + factor, self._logs)
        top = self._logs.max(axis=0)
        self.highest = np.maximum(self.highest, top + np.log(np.exp(self._logs - top).sum(axis=0)))
        self._asked = np.where(live, self._asked + m, self._asked)
        self._failed = np.where(live, self._failed + y, self._failed)


@dataclass(frozen=True)
class Ends:
    """How each run ended, and after how many requests of both models."""

    promoted: NDArray[np.bool_]
    taken_back: NDArray[np.bool_]
    asked: NDArray[np.float64]
    own: NDArray[np.float64]
    """Requests of the challenger."""
    traffic: NDArray[np.float64]
    """Percent at the end."""


def roll_out(
    failing: Failing,
    runs: int,
    seconds: int,
    requests: int,
    margin: float,
    *,
    shadow: int = 200,
    steps: tuple[int, ...] = (5, 25, 50),
    wanted: int = 200,
    loads: int = 2,
) -> Ends:
    """`requests` come in each second; a run that has no end after all `seconds` has none."""
    ladder = np.array([0, *steps, 100], dtype=float)
    shares = [round(requests * step / 100) for step in steps]
    own = np.array([requests, *shares, 1])  # the last is of runs that have ended: any
    theirs = np.array([requests, *(requests - share for share in shares), 1])
    margins = [margin * factor for factor in FACTORS if margin * factor < 0.5]
    shown_by = {one: Comparison(-one, runs, {one: 0.5, 3.0 * one: 0.25, 6.0 * one: 0.25}) for one in margins}
    worse = Comparison(margin, runs, GAPS)
    place = np.zeros(runs, dtype=int)
    at_most = np.full(runs, np.inf if len(margins) == len(FACTORS) else 0.5)
    live = np.ones(runs, dtype=bool)
    promoted, taken_back = np.zeros(runs, dtype=bool), np.zeros(runs, dtype=bool)
    total, at_step, asked = np.zeros(runs), np.zeros(runs), np.zeros(runs)
    told, told_at_most, told_at = np.zeros(runs), at_most.copy(), np.zeros(runs)
    fresh = np.ones(runs, dtype=bool)  # whether the step has not been looked at yet
    for second in range(seconds):
        n, m = own[place].astype(float), theirs[place].astype(float)
        if second + 1 > loads:
            x, y = failing(second, True, own[place]), failing(second, False, theirs[place])
            worse.update(n, x, m, y, live)
            for one, test in shown_by.items():
                test.update(m, y, n, x, live & (one < at_most))
            still = live.copy()
            for one, test in shown_by.items():
                known = one >= at_most
                passed = test.highest >= -np.log(ALPHA)
                at_most = np.where(still & ~known & passed, one, at_most)
                still &= known | passed
            total += np.where(live, n, 0.0)
            asked += np.where(live, float(requests), 0.0)
        broken = live & (worse.highest >= -np.log(0.4 * ALPHA))
        taken_back |= broken
        live &= ~broken
        at_step = np.where(fresh, total, at_step)
        tells = fresh | (at_most != told_at_most) | (second - told_at >= _TOLD_SECONDS)
        told = np.where(tells, total - at_step, told)
        told_at, told_at_most = np.where(tells, second, told_at), np.where(tells, at_most, told_at_most)
        fresh[:] = False
        if second + 1 < loads:
            continue
        following = ladder[np.minimum(place + 1, len(ladder) - 1)]
        needed = margin * 100.0 / following * (1.0 + 1e-9)
        enough = (told >= np.where(place == 0, shadow, wanted)) & ((needed >= 0.5) | (told_at_most <= needed))
        goes = live & enough
        place = np.where(goes, place + 1, place)
        fresh = goes.copy()
        promoted |= goes & (place == len(ladder) - 1)
        live &= ~promoted
        if not live.any():
            break
    return Ends(promoted, taken_back, asked, total, ladder[place])

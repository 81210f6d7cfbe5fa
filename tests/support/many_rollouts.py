"""Many rollouts at once, as arrays: what `World` and `Driver` do in one, for counts of faults alone.

A second copy of the rule exists only so that a thousand runs take seconds; tests hold it against the real
one, run by run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from many_tests import Comparison, events

from windtunnel.rollout import comparisons, evidence
from windtunnel.rollout.evidence import FACTORS

if TYPE_CHECKING:
    from numpy.typing import NDArray

Failing = Callable[[int, bool, Any], Any]
"""(second, whether of the challenger, requests by run) → how many of them fail, by run."""

_TOLD_SECONDS: Final = 2


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
    gaps = {one: {one: 0.5, 3.0 * one: 0.25, 6.0 * one: 0.25} for one in margins}
    shown_by = {one: Comparison(-one, runs, gaps=gaps[one]) for one in margins}
    worse = Comparison(margin, runs)
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
            challenger, champion = events(n, x), events(m, y)
            worse.update(challenger, champion, live)
            for one, test in shown_by.items():
                test.update(champion, challenger, live & (one < at_most))
            still = live.copy()
            for one, test in shown_by.items():
                known = one >= at_most
                passed = test.p_value <= evidence.ALPHA
                at_most = np.where(still & ~known & passed, one, at_most)
                still &= known | passed
            total += np.where(live, n, 0.0)
            asked += np.where(live, float(requests), 0.0)
        broken = live & (worse.p_value <= 0.4 * comparisons.ALPHA)
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

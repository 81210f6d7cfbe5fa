"""P values for differences between two samples whose rows are not independent, and for many at once.

Every variance here has two parts: what independent rows would give, and what the days (or hours) add that
the rows come in (`between_blocks`). The second part is estimated from a limited number of days; `doubt`
carries that: the degrees of freedom of the variance, infinite where rows are independent.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import betainc, chdtrc, fdtrc, stdtr

if TYPE_CHECKING:
    from collections.abc import Sequence

_FEW = 40.0
"""Expected rows below which a normal approximation is not trusted at p values of 1e-4."""


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Adjusted p values in the given order; of those at most alpha, a share of alpha is false on average.

    Where nothing has drifted at all, any alarm is false: the chance of one is then at most alpha.
    """
    count = len(p_values)
    adjusted = [1.0] * count
    lowest = 1.0
    for rank, index in enumerate(sorted(range(count), key=lambda i: -p_values[i])):
        lowest = min(lowest, p_values[index] * count / (count - rank))
        adjusted[index] = lowest
    return adjusted


def p_difference(difference: float, variance: float, doubt: float = math.inf) -> float:
    """Two-sided p value of a difference with that variance: Student's t with `doubt` degrees of freedom."""
    if difference == 0.0:
        return 1.0
    if variance <= 0.0:
        return 0.0
    z = -abs(difference) / math.sqrt(variance)
    return min(1.0, 2.0 * float(stdtr(min(doubt, 1e9), z)))


def p_distance(squared: float, mean: float, variance: float, doubt: float = math.inf) -> float:
    """P value of a squared distance that is a weighted sum of chi-squares with that mean and variance.

    Satterthwaite's match of both moments by one chi-square, the second-order correction of Rao and Scott
    (1981, 1984) for clustered counts; with few blocks an F takes the place of the chi-square.
    """
    if mean <= 0.0 or variance <= 0.0:
        return 1.0 if squared <= 0.0 else 0.0
    freedom = 2.0 * mean * mean / variance
    ratio = squared / mean
    if doubt > 1e6:
        return float(chdtrc(freedom, ratio * freedom))
    return float(fdtrc(freedom, doubt, ratio))


def p_share(
    current: float,
    current_rows: float,
    reference: float,
    reference_rows: float,
    between: float = 0.0,
    doubt: float = math.inf,
) -> float:
    """Two-sided p value of two shares being equal: `current` of `current_rows` rows, `reference` likewise.

    between: variance of the difference that blocks add, near the reference's share. Where either sample
    expects few rows, the conditional binomial test (exact for independent rows) on counts shrunk by the
    design effect.
    """
    rows = current_rows + reference_rows
    if current_rows <= 0.0 or reference_rows <= 0.0:
        return 1.0
    pooled = (current + reference) / rows
    rare = min(pooled, 1.0 - pooled)
    if rare <= 0.0:
        return 1.0
    sampling = pooled * (1.0 - pooled) * (1.0 / current_rows + 1.0 / reference_rows)
    difference = current / current_rows - reference / reference_rows
    between = _between_shares(current / current_rows, reference / reference_rows, between)
    p_normal = p_difference(difference, sampling + between, doubt)
    if rare * min(current_rows, reference_rows) >= _FEW:
        return p_normal
    if pooled > 0.5:
        current, reference = current_rows - current, reference_rows - reference
    shrink = sampling / (sampling + between)
    here, there, part = current * shrink, reference * shrink, current_rows / rows
    more = float(betainc(here, there + 1.0, part)) if here > 0.0 else 1.0
    fewer = float(betainc(there, here + 1.0, 1.0 - part)) if there > 0.0 else 1.0
    return max(min(1.0, 2.0 * min(more, fewer)), p_normal if math.isfinite(doubt) else 0.0)


def _between_shares(current: float, reference: float, between: float) -> float:
    """The variance between blocks that is to be expected of a share that far from the reference's.

    Days differ by factors: where a tail has 2 % of the rows with a standard deviation of 2 %, a day with 15 %
    is no rarity. Log-normal with the same mean and variance; of the complement, where the share is large.
    """
    if reference > 0.5:
        current, reference = 1.0 - current, 1.0 - reference
    if between <= 0.0 or reference <= 0.0 or current <= reference:
        return between
    spread = math.log1p(between / (reference * reference))
    distance = math.log(current / reference) + spread / 2.0
    return max(between, (current - reference) ** 2 * spread / (distance * distance))


def p_beyond(beyond: float, current_rows: float, reference_rows: float) -> float:
    """P value of `beyond` rows or more outside the lowest and highest of a reference, if nothing changed.

    A bound for independent rows whatever their distribution: the most extreme `beyond` rows of both samples
    together, split between the two sides in any way, would all have to lie in the current one.
    """
    if beyond <= 0.0:
        return 1.0
    steps = np.arange(math.ceil(min(beyond, 1000.0)))
    logs = np.log(np.maximum(current_rows - steps, 1e-9)) - np.log(current_rows + reference_rows - steps)
    # `beyond` rows on two sides: split in `beyond` + 1 ways.
    return min(1.0, (beyond + 1.0) * math.exp(float(logs.sum())))

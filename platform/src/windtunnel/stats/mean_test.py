"""A one-sided test and bound for a mean that stays honest when few rows carry all the difference.

Gaffke's statistic: draw weights from a flat Dirichlet over the rows and one pseudo-row that holds the worst
value possible; P is the probability that the weighted mean reaches the null value. For 0/1 data it is the
Clopper-Pearson test exactly; for many rows with spread it is the z test. In between, where two models differ
in 1 % of rows and a z test or a bootstrap promotes too often, it keeps its level (proved by simulation in
tests/unit/stats). Sources: Gaffke 2005; Learned-Miller and Thomas 2019, "A new confidence interval for the
mean of a bounded random variable".

The probability is P(sum E_i (x_i - null) > 0) with independent E_i ~ Exp(1), found by a saddlepoint
approximation (Lugannani and Rice 1980): no random numbers, so the same rows always give the same verdict.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_NORMAL = NormalDist()
_NEWTON_STEPS = 200
_BOUND_STEPS = 100


def p_mean_below(values: NDArray[np.float64], null: float, worst: float) -> float:
    """P value of "the mean is at least `null`"; small means the mean is shown to lie below it.

    values: [N], each at most `worst`, the highest value that a row could take.
    """
    return _Rows.of(values, worst).p_value(null)


def mean_bounds(
    values: NDArray[np.float64], lowest: float, highest: float, alpha: float
) -> tuple[float, float]:
    """Lower and upper bound of the mean; each is wrong with probability at most `alpha`.

    The upper bound is the null value at which `p_mean_below` equals alpha, so interval and decision agree.
    """
    return -_Rows.of(-values, -lowest).upper_bound(alpha), _Rows.of(values, highest).upper_bound(alpha)


@dataclass(frozen=True)
class _Rows:
    """Distinct values with their counts, the pseudo-row included; rows where models agree cost nothing."""

    values: NDArray[np.float64]
    weights: NDArray[np.float64]

    @classmethod
    def of(cls, values: NDArray[np.float64], worst: float) -> _Rows:
        distinct, counts = np.unique(values, return_counts=True)
        worst = max(worst, float(distinct[-1]))
        return cls(np.append(distinct, worst), np.append(counts, 1).astype(np.float64))

    def p_value(self, null: float) -> float:
        offsets = self.values - null
        if offsets.min() >= 0.0:
            return 1.0
        if offsets.max() <= 0.0:
            return 0.0
        return _p_positive(offsets, self.weights)

    def upper_bound(self, alpha: float) -> float:
        """Where the p value falls to alpha: regula falsi (Illinois) on its normal quantile, near linear in
        null.
        """
        low, high = float(self.values[0]), float(self.values[-1])
        if low == high:
            return high
        mean = float(self.weights @ self.values / self.weights.sum())
        at_low, at_high = _quantile(self.p_value(mean)) - _quantile(alpha), _quantile(0.0) - _quantile(alpha)
        low, middle = mean, mean
        spread = math.sqrt(float(self.weights @ np.square(self.values - mean))) / float(self.weights.sum())
        guess = min(mean - _quantile(alpha) * spread, (mean + high) / 2.0)
        for _ in range(_BOUND_STEPS):
            middle, before = guess, middle
            at_middle = _quantile(self.p_value(middle)) - _quantile(alpha)
            if at_middle > 0.0:
                low, at_low, at_high = middle, at_middle, at_high / 2.0 if middle > before else at_high
            else:
                high, at_high, at_low = middle, at_middle, at_low / 2.0 if middle < before else at_low
            if abs(at_middle) < 1e-6 or high - low <= 1e-9 * (abs(high) + abs(low)):
                break
            guess = low + (high - low) * at_low / (at_low - at_high)
        return middle


def _quantile(p: float) -> float:
    return _NORMAL.inv_cdf(min(max(p, 1e-12), 1.0 - 1e-12))


def _p_positive(offsets: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    """P(sum of `weights[k]` exponentials times `offsets[k]` > 0), by saddlepoint.

    With K(s) = -sum w log(1 - s a): find s with K'(s) = 0 between the poles 1/min(a) < 0 < 1/max(a).
    """
    offsets = offsets / float(np.abs(offsets).max())
    low, high = 1.0 / float(offsets.min()), 1.0 / float(offsets.max())
    s = 0.0
    for _ in range(_NEWTON_STEPS):
        ratio = offsets / (1.0 - s * offsets)
        slope, curvature = float(weights @ ratio), float(weights @ np.square(ratio))
        low, high = (s, high) if slope < 0.0 else (low, s)
        step = s - slope / curvature
        following = step if low < step < high else (low + high) / 2.0
        if abs(following - s) <= 1e-10 * max(1.0, abs(s)):
            break
        s = following
    ratio = offsets / (1.0 - s * offsets)
    deviation = math.sqrt(float(weights @ np.square(ratio)))
    log_moment = -float(weights @ np.log1p(-s * offsets))
    w = math.copysign(math.sqrt(max(0.0, -2.0 * log_moment)), s)
    if abs(w) < 1e-3:
        # 1/u and 1/w both grow without bound here; their difference tends to -skewness / 6.
        correction = -2.0 * float(weights @ ratio**3) / deviation**3 / 6.0
    else:
        correction = 1.0 / (s * deviation) - 1.0 / w
    return min(1.0, max(0.0, _NORMAL.cdf(-w) + _NORMAL.pdf(w) * correction))

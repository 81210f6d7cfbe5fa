"""The gate: may this challenger take the champion's seat? A paired test on the same rows, with guardrails.

Why not compare two averages: on a nominal 5 % the better-looking average promotes half of all challengers
that are no better. The gate asks instead whether the loss difference per row *shows* what the mode demands:

    refresh   the challenger is shown to be worse by less than `margin`
    improve   the challenger is shown to be better by more than `min_gain`

so a challenger exactly at the margin (or at min_gain) is promoted with probability at most `alpha`, also
where the two models differ in 1 % of rows: there a z test errs up to 20 %, see mean_test. A challenger that
predicts exactly what the champion predicts, row for row, is not worse, so `refresh` promotes it whatever the
margin; it gains nothing, so `improve` always refuses it. (From 300 rows on, two models that differ in 1 % of
rows look like copies with probability below 5 %; hence the lifecycle's minRows.)

Guardrails can only refuse, and only on evidence: a slice that got worse by more than `margin`, or a
calibration that got worse by more than CALIBRATION_TOLERANCE. Together (Holm) they refuse a harmless
challenger with probability at most `alpha`. Rows count as independent draws from the days like those of the
window: a verdict cannot know about days unlike them.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from windtunnel.stats.calibration import p_calibration_worse
from windtunnel.stats.holm import holm_adjusted
from windtunnel.stats.losses import Metric, plausible_differences, row_losses
from windtunnel.stats.mean_test import mean_bounds, p_mean_below

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

Mode = Literal["refresh", "improve"]
Decision = Literal["promote", "refuse"]

CALIBRATION_TOLERANCE = 0.03
"""Root mean square gap of probability that the challenger may have beyond the champion's."""
SLICE_ROWS = 30
"""Slices with fewer rows are counted, not judged."""
POWER = 0.8


@dataclass(frozen=True)
class Rule:
    """What the gate demands; margins are loss per row in units of the metric."""

    metric: Metric
    mode: Mode
    margin: float = 0.0
    min_gain: float = 0.0
    alpha: float = 0.05
    min_rows: int = 1


@dataclass(frozen=True)
class Guardrail:
    """One check that can refuse: `p_value` is adjusted for all of them; `difference` is challenger -
    champion.
    """

    name: str
    rows: int
    difference: float
    p_value: float
    passed: bool


@dataclass(frozen=True)
class GateResult:
    """The decision with its evidence. Differences are challenger - rival: below 0 means better."""

    decision: Decision
    reasons: list[str]
    metric: str
    mode: str
    rows: int
    rows_that_differ: int
    difference: float
    interval: tuple[float, float]
    """Each end is wrong with probability at most alpha: together an interval of level 1 - 2 alpha."""
    level: float
    p_value: float
    detectable: float
    """The true difference, beyond what the rule demands, that such a window shows with 80 % power."""
    guardrails: list[Guardrail] = field(default_factory=list)
    slices_too_small: int = 0

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def judge(
    rule: Rule,
    label: NDArray[np.float64],
    challenger: NDArray[np.float64],
    rival: NDArray[np.float64],
    slices: Mapping[str, NDArray[np.object_]] | None = None,
    rival_name: str = "the champion",
    guard: bool = True,
) -> GateResult:
    """Decide between two models' predictions [N] on the same labelled rows.

    slices: values [N] of each slice column. `guard=False` leaves the guardrails out: where nothing serves
    yet, nothing can get worse.
    """
    if len(label) < max(2, rule.min_rows):
        return _too_few(rule, len(label))
    difference = row_losses(rule.metric, label, challenger) - row_losses(rule.metric, label, rival)
    lowest, highest = plausible_differences(rule.metric, label, challenger, rival, rule.alpha)
    limit = rule.margin if rule.mode == "refresh" else -rule.min_gain
    copy = bool(np.array_equal(challenger, rival))
    p_value = (0.0 if rule.mode == "refresh" else 1.0) if copy else p_mean_below(difference, limit, highest)
    interval = mean_bounds(difference, lowest, highest, rule.alpha)
    guardrails, too_small = (
        _guardrails(rule, label, challenger, rival, difference, slices or {}) if guard else ([], 0)
    )
    shown = p_value <= rule.alpha
    passed = shown and all(guardrail.passed for guardrail in guardrails)
    detectable = _detectable(difference, rule.alpha)
    reasons = [
        _main_reason(rule, shown, copy, float(difference.mean()), interval, rival_name),
        *(_guardrail_reason(g, rule) for g in guardrails if not g.passed),
    ]
    if not shown and not copy:
        reasons.append(
            f"on {len(label):,} rows of which {int(np.count_nonzero(difference)):,} differ, "
            f"a true difference of {detectable:.2g} beyond that limit would be shown 4 times in 5"
        )
    return GateResult(
        decision="promote" if passed else "refuse",
        reasons=reasons,
        metric=rule.metric,
        mode=rule.mode,
        rows=len(label),
        rows_that_differ=int(np.count_nonzero(challenger != rival)),
        difference=float(difference.mean()),
        interval=interval,
        level=1.0 - 2.0 * rule.alpha,
        p_value=p_value,
        detectable=detectable,
        guardrails=guardrails,
        slices_too_small=too_small,
    )


def refusal(rule: Rule, rows: int, reason: str) -> GateResult:
    """A refusal without a test, such as a window that a model was trained on."""
    return GateResult(
        decision="refuse",
        reasons=[reason],
        metric=rule.metric,
        mode=rule.mode,
        rows=rows,
        rows_that_differ=0,
        difference=0.0,
        interval=(-math.inf, math.inf),
        level=1.0 - 2.0 * rule.alpha,
        p_value=1.0,
        detectable=math.inf,
    )


def _too_few(rule: Rule, rows: int) -> GateResult:
    return refusal(
        rule, rows, f"the evaluation window has {rows:,} labelled rows, {max(2, rule.min_rows):,} are needed"
    )


def _guardrails(
    rule: Rule,
    label: NDArray[np.float64],
    challenger: NDArray[np.float64],
    rival: NDArray[np.float64],
    difference: NDArray[np.float64],
    slices: Mapping[str, NDArray[np.object_]],
) -> tuple[list[Guardrail], int]:
    found: list[tuple[str, int, float, float]] = []
    too_small = 0
    for column, values in slices.items():
        names, codes = np.unique(values.astype(str), return_inverse=True)
        for code, name in enumerate(names):
            rows = codes == code
            if int(rows.sum()) < SLICE_ROWS:
                too_small += 1
                continue
            lowest, _ = plausible_differences(
                rule.metric, label[rows], challenger[rows], rival[rows], rule.alpha
            )
            p = p_mean_below(-difference[rows], -rule.margin, -lowest)
            found.append((f"{column}={name}", int(rows.sum()), float(difference[rows].mean()), p))
    if rule.metric != "squared_error":
        p = p_calibration_worse(label, challenger, rival, CALIBRATION_TOLERANCE)
        gap = float(abs(challenger.mean() - label.mean()) - abs(rival.mean() - label.mean()))
        found.append(("calibration", len(label), gap, p))
    adjusted = holm_adjusted([p for *_, p in found])
    return [
        Guardrail(name, rows, gap, p, passed=p > rule.alpha)
        for (name, rows, gap, _), p in zip(found, adjusted, strict=True)
    ], too_small


def _detectable(difference: NDArray[np.float64], alpha: float) -> float:
    normal = NormalDist()
    spread = float(difference.std(ddof=1)) / math.sqrt(len(difference))
    return (normal.inv_cdf(1.0 - alpha) + normal.inv_cdf(POWER)) * spread


def _main_reason(
    rule: Rule, shown: bool, copy: bool, difference: float, interval: tuple[float, float], rival: str
) -> str:
    if copy:
        verdict = "not worse" if rule.mode == "refresh" else "no gain"
        return f"the challenger predicts exactly what {rival} predicts: {verdict}"
    side = "better" if difference < 0 else "worse"
    evidence = (
        f"{rule.metric} is {abs(difference):.5f} {side} than {rival}'s, "
        f"between {interval[0]:+.5f} and {interval[1]:+.5f} ({1 - 2 * rule.alpha:.0%} interval)"
    )
    if rule.mode == "refresh":
        demand = f"worse by less than the margin {rule.margin:g}"
    else:
        demand = f"better by more than {rule.min_gain:g}" if rule.min_gain else "better"
    return f"{evidence}: {'shown' if shown else 'not shown'} to be {demand}"


def _guardrail_reason(guardrail: Guardrail, rule: Rule) -> str:
    if guardrail.name == "calibration":
        return (
            f"calibration got worse by more than {CALIBRATION_TOLERANCE:g} "
            f"(adjusted p {guardrail.p_value:.2g}, mean prediction off by {guardrail.difference:+.3f} more)"
        )
    return (
        f"slice {guardrail.name} ({guardrail.rows:,} rows) got worse by {guardrail.difference:.4f}, "
        f"more than the margin {rule.margin:g} (adjusted p {guardrail.p_value:.2g} over all guardrails)"
    )

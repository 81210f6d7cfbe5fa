"""The gate keeps its stated error rate; these worlds are seeded and small, the bounds include sampling error.

Measured when written (nominal 5 %, 1,500 windows each), challengers exactly at the margin, off by 0.2:
500 rows of which 1 % differ 1.1 %, 2,000 rows of which 1 % differ 0.0 %, 500 rows of which 10 % differ 0.4 %,
2,000 rows that all differ 4.2 %. A paired z test promotes 21, 16, 10 and 6 % of the same.
Power at margin 0.01 for an equal model whose predictions move by 0.02: 500 rows 73 %, 2,000 rows 100 %.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from windtunnel.stats.gate import GateResult, Rule, judge
from windtunnel.stats.losses import row_losses

Array = NDArray[np.float64]
RULE = Rule(metric="log_loss", mode="refresh", margin=0.01, alpha=0.05, min_rows=100)
LIMIT = 0.05 + 3 * math.sqrt(0.05 * 0.95 / 500)
"""5 % and three standard errors of 500 windows."""


def world(random: np.random.Generator, rows: int, share: float, scale: float) -> tuple[Array, Array, Array]:
    """Labels drawn from the champion's probabilities; the challenger is off by `scale` in `share` of rows."""
    champion = np.clip(random.beta(2, 6, rows), 0.01, 0.99)
    moved = np.clip(champion + random.choice([-1.0, 1.0], rows) * scale, 0.01, 0.99)
    challenger = np.where(random.random(rows) < share, moved, champion)
    return (random.random(rows) < champion).astype(float), challenger, champion


def true_difference(share: float, scale: float) -> float:
    """Expected loss difference of `world`, from its probabilities alone."""
    _, challenger, champion = world(np.random.default_rng(9), 400_000, share, scale)
    ones, zeros = np.ones_like(champion), np.zeros_like(champion)
    gain_one = row_losses("log_loss", ones, challenger) - row_losses("log_loss", ones, champion)
    gain_zero = row_losses("log_loss", zeros, challenger) - row_losses("log_loss", zeros, champion)
    return float(np.mean(champion * gain_one + (1 - champion) * gain_zero))


def promoted(
    rule: Rule, rows: int, share: float, scale: float, windows: int = 500, swap: bool = False
) -> float:
    random = np.random.default_rng(7)
    count = 0
    for _ in range(windows):
        label, challenger, champion = world(random, rows, share, scale)
        pair = (champion, challenger) if swap else (challenger, champion)
        count += judge(rule, label, *pair, guard=False).decision == "promote"
    return count / windows


@pytest.mark.parametrize(("rows", "share"), [(500, 0.01), (2000, 0.01), (500, 0.1), (2000, 1.0)])
def test_a_challenger_at_the_margin_passes_refresh_at_most_at_the_stated_rate(
    rows: int, share: float
) -> None:
    rule = replace(RULE, margin=true_difference(share, 0.2))
    assert promoted(rule, rows, share, 0.2) <= LIMIT


@pytest.mark.parametrize(("rows", "share"), [(500, 0.01), (2000, 0.01), (2000, 1.0)])
def test_a_challenger_that_gains_just_min_gain_passes_improve_at_most_at_the_stated_rate(
    rows: int, share: float
) -> None:
    rule = replace(RULE, mode="improve", min_gain=true_difference(share, 0.2))
    assert promoted(rule, rows, share, 0.2, swap=True) <= LIMIT


@pytest.mark.parametrize("share", [0.01, 1.0])
def test_a_challenger_of_equal_worth_passes_improve_at_most_at_the_stated_rate(share: float) -> None:
    """Null: both are equally far from the truth, on opposite sides, row by row at random."""
    random = np.random.default_rng(3)
    rule = replace(RULE, mode="improve")
    count = 0
    for _ in range(500):
        truth = random.uniform(0.1, 0.5, 1000)
        off = np.where(random.random(1000) < share, random.choice([-0.05, 0.05], 1000), 0.0)
        label = (random.random(1000) < truth).astype(float)
        count += judge(rule, label, truth + off, truth - off, guard=False).decision == "promote"
    assert count / 500 <= LIMIT


def test_power_of_refresh_for_an_equal_model_retrained_with_noise() -> None:
    """A week of 6,000 rows, predictions that move by 0.02, margin 0.01: promoted nearly always."""
    assert promoted(RULE, 6000, 1.0, 0.02, windows=100) >= 0.95


def test_power_of_refresh_at_the_smallest_window() -> None:
    """500 rows, predictions that move by 0.02, margin 0.01: promoted more often than not."""
    assert promoted(RULE, 500, 1.0, 0.02, windows=200) >= 0.5


def test_power_of_improve_for_a_clearly_better_model() -> None:
    """2,000 rows, true gain 0.039 (the champion is off by 0.1): promoted in at least 9 of 10 windows."""
    assert promoted(replace(RULE, mode="improve"), 2000, 1.0, 0.1, windows=200, swap=True) >= 0.9


def test_a_clearly_worse_model_is_refused() -> None:
    assert promoted(RULE, 2000, 1.0, 0.2, windows=100) == 0.0


def _one(rule: Rule, **options: object) -> GateResult:
    label, challenger, champion = world(np.random.default_rng(1), 2000, 1.0, 0.02)
    return judge(rule, label, challenger, champion, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("margin", [0.0, 0.01])
def test_an_exact_copy_passes_refresh(margin: float) -> None:
    label, _, champion = world(np.random.default_rng(1), 2000, 1.0, 0.02)
    result = judge(replace(RULE, margin=margin), label, champion, champion, {"side": _halves(2000)})
    assert (result.decision, result.rows_that_differ, result.interval) == ("promote", 0, (0.0, 0.0))
    assert "exactly" in result.reasons[0]


@pytest.mark.parametrize("min_gain", [0.0, 0.01])
def test_an_exact_copy_never_passes_improve(min_gain: float) -> None:
    label, _, champion = world(np.random.default_rng(1), 2000, 1.0, 0.02)
    result = judge(replace(RULE, mode="improve", min_gain=min_gain), label, champion, champion)
    assert result.decision == "refuse"
    assert "no gain" in result.reasons[0]


def test_the_interval_agrees_with_the_decision() -> None:
    random = np.random.default_rng(5)
    for _ in range(50):
        label, challenger, champion = world(random, 500, 0.5, 0.1)
        result = judge(RULE, label, challenger, champion, guard=False)
        assert (result.decision == "promote") == (result.interval[1] <= RULE.margin + 1e-9)
        assert result.interval[0] <= result.difference <= result.interval[1]


def test_too_few_rows_are_refused_with_the_numbers() -> None:
    result = _one(replace(RULE, min_rows=5000))
    assert result.decision == "refuse"
    assert result.reasons == ["the evaluation window has 2,000 labelled rows, 5,000 are needed"]


def test_a_refusal_says_what_the_window_could_have_shown() -> None:
    result = _one(replace(RULE, mode="improve", min_gain=0.005))
    assert result.decision == "refuse"
    assert "4 times in 5" in result.reasons[-1]


def _halves(rows: int) -> NDArray[np.object_]:
    return np.where(np.arange(rows) % 2 == 0, "even", "odd").astype(object)


def test_a_slice_that_got_worse_refuses_what_is_better_on_average() -> None:
    random = np.random.default_rng(4)
    truth = random.uniform(0.05, 0.6, 4000)
    label = (random.random(4000) < truth).astype(float)
    small = np.arange(4000) % 10 == 0
    champion = np.where(small, truth, np.clip(truth + 0.15, 0.01, 0.99))
    challenger = np.where(small, np.clip(truth + 0.3, 0.01, 0.99), truth)
    slices = {"place": np.where(small, "small", "large").astype(object)}
    result = judge(RULE, label, challenger, champion, slices)
    assert result.interval[1] < 0.0
    assert result.decision == "refuse"
    assert any("place=small" in reason for reason in result.reasons)


def test_guardrails_over_many_slices_seldom_refuse_a_harmless_challenger() -> None:
    """40 slices, no worse in any: without Holm, four windows in five would be refused."""
    random = np.random.default_rng(6)
    rule = replace(RULE, margin=0.0005)
    refused = 0
    for _ in range(100):
        truth = random.uniform(0.1, 0.5, 4000)
        off = random.choice([-0.05, 0.05], 4000)
        label = (random.random(4000) < truth).astype(float)
        slices = {"group": random.integers(0, 40, 4000).astype(object)}
        result = judge(rule, label, truth + off, truth - off, slices)
        refused += not all(guardrail.passed for guardrail in result.guardrails)
    assert refused / 100 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 100)


def test_small_slices_are_counted_not_judged() -> None:
    result = _one(RULE, slices={"row": np.arange(2000).astype(object)})
    assert result.slices_too_small == 2000
    assert [guardrail.name for guardrail in result.guardrails] == ["calibration"]


def test_lost_calibration_refuses_a_model_that_ranks_better() -> None:
    random = np.random.default_rng(8)
    truth = random.beta(1, 3, 6000)
    label = (random.random(6000) < truth).astype(float)
    champion = np.full(6000, truth.mean()) + random.normal(0, 0.01, 6000)
    challenger = truth**0.55
    result = judge(replace(RULE, metric="brier", margin=0.05), label, challenger, champion)
    assert result.decision == "refuse"
    assert any("calibration" in reason for reason in result.reasons)


def test_regression_is_judged_by_squared_error() -> None:
    random = np.random.default_rng(2)
    truth = random.normal(0, 1, 2000)
    label = truth + random.normal(0, 1, 2000)
    rule = Rule(metric="squared_error", mode="improve", min_gain=0.01)
    better = judge(rule, label, truth, truth + random.normal(0, 0.5, 2000))
    worse = judge(rule, label, truth + random.normal(0, 0.5, 2000), truth)
    assert (better.decision, worse.decision) == ("promote", "refuse")

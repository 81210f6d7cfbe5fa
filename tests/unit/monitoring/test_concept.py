"""Concept drift of probabilities and of values: another relation is found, other rows are not."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest

from windtunnel.monitoring.concept import detect
from windtunnel.monitoring.labels import DAY, LABEL
from windtunnel.stats.block_means import block_mean
from windtunnel.stats.cbpe import fit_calibration
from windtunnel.stats.losses import row_losses

if TYPE_CHECKING:
    from windtunnel.monitoring.measures import Concept

FIRST = date(2026, 3, 1)
ROWS = 400


class World:
    """Days of predictions and labels, and what the evaluation of two weeks knew of them."""

    def __init__(self, *, binary: bool) -> None:
        self.binary = binary
        self.random = np.random.default_rng(5)
        metric: Any = "log_loss" if binary else "squared_error"
        label, prediction = self.rows(14 * ROWS)
        days = np.repeat(np.arange(14), ROWS)
        curve = fit_calibration(metric, label, prediction, days) if binary else None
        expected = curve.probabilities(prediction) if curve else prediction
        self.profile: Any = SimpleNamespace(
            calibration=curve,
            quality=SimpleNamespace(
                loss=block_mean(row_losses(metric, label, prediction), days),
                residual=block_mean(label - expected, days),
            ),
        )
        self.spec: Any = SimpleNamespace(
            evaluation=SimpleNamespace(metric=metric), monitoring=SimpleNamespace(alpha=0.01)
        )

    def rows(self, rows: int, shift: float = 0.0, centre: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
        """Labels that lie `shift` (log-odds, or standard deviations) beside what the predictions say."""
        score = self.random.normal(centre, 1, rows)
        if not self.binary:
            return score + shift + self.random.normal(0, 1, rows), score
        chance = 1 / (1 + np.exp(-(score + shift)))
        return (self.random.random(rows) < chance).astype(float), 1 / (1 + np.exp(-score))

    def days(
        self, shifts: list[float], first: date = FIRST, rows: int = ROWS, centre: float = 0.0
    ) -> pl.DataFrame:
        parts = []
        for number, shift in enumerate(shifts):
            label, prediction = self.rows(rows, shift, centre)
            day = first + timedelta(days=number)
            parts.append(
                pl.DataFrame({LABEL: label, "prediction": prediction}).with_columns(pl.lit(day).alias(DAY))
            )
        return pl.concat(parts)

    def detect(self, rows: pl.DataFrame, **options: Any) -> Concept | None:
        return detect(rows, self.profile, self.spec, **options)


@pytest.fixture(params=[True, False], ids=["probabilities", "values"])
def world(request: pytest.FixtureRequest) -> World:
    return World(binary=request.param)


def test_quiet_weeks_and_another_mix_of_rows_are_none(world: World) -> None:
    for centre in (0.0, 1.5):
        found = world.detect(world.days([0.0] * 20, centre=centre))
        assert found
        assert (found.detected, found.days, found.since, found.direction) == (False, 20, None, None)


@pytest.mark.parametrize(("shift", "direction"), [(1.5, "more"), (-1.5, "fewer")])
def test_labels_that_lie_higher_or_lower_than_promised_are_found_with_their_first_day(
    world: World, shift: float, direction: str
) -> None:
    found = world.detect(world.days([0.0] * 6 + [shift] * 4))
    assert found
    assert found.detected
    assert found.direction == direction
    assert found.since == datetime(2026, 3, 7, tzinfo=UTC)
    assert found.p_value < 0.01


def test_a_trifle_in_very_many_rows_is_none(world: World) -> None:
    found = world.detect(world.days([0.02] * 10, rows=20_000))
    assert found
    assert not found.detected


def test_days_are_counted_once_when_their_labels_are_whole(world: World) -> None:
    rows = world.days([0.0] * 4)
    first = world.detect(rows, complete=FIRST + timedelta(days=1))
    assert first
    assert (first.days, first.rows) == (2, 2 * ROWS)
    second = world.detect(rows, before=first.state, complete=FIRST + timedelta(days=2))
    assert second
    assert (second.days, second.rows) == (3, ROWS)
    nothing_new = world.detect(rows, before=second.state, complete=FIRST + timedelta(days=2))
    assert nothing_new
    assert (nothing_new.days, nothing_new.rows, nothing_new.p_value) == (3, 0, second.p_value)


def test_days_with_few_labels_say_nothing(world: World) -> None:
    assert world.detect(world.days([3.0, 3.0], rows=20)) is None


def test_the_state_of_another_release_is_begun_anew(world: World) -> None:
    found = world.detect(world.days([0.0]), before={"bets": {"other": []}})
    assert found
    assert found.days == 1

"""`as_of_join` and `newest` against the oracle: ten thousand histories, no difference."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings

from windtunnel.features import chunks
from windtunnel.features.as_of_join import FeatureRows, as_of_join
from windtunnel.features.newest import newest

from . import oracle
from .histories import HOUR, MOMENT, START, histories, ttl_of

if TYPE_CHECKING:
    from .histories import History
    from .oracle import View

MANY = settings(
    max_examples=10_000, deadline=None, database=None, derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)  # fmt: skip


def frame(table: object) -> pl.DataFrame:
    made = pl.from_arrow(table)
    assert isinstance(made, pl.DataFrame)
    return made


def feature_rows(history: History, view: View) -> FeatureRows:
    return FeatureRows(
        frame(history.table(view)).lazy(), view.keys, view.event, view.created, ttl_of(view), view.features
    )


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three rows at a time, so that every history is read in several chunks."""
    monkeypatch.setattr(chunks, "CELLS", 3 * 7)


@MANY
@given(history=histories())
def test_ten_thousand_histories(history: History) -> None:
    asked = frame(history.entity_table())
    views = [feature_rows(history, view) for view in history.views]
    got = as_of_join(asked, MOMENT, views, known_then=history.known_then)
    assert got.select(asked.columns).equals(asked)
    want = oracle.answer(history.entity_rows, MOMENT, history.views, known_then=history.known_then)
    for view in history.views:
        for name in view.features.values():
            assert got[name].to_list() == [row[name] for row in want]

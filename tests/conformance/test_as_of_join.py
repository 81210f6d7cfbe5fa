"""`as_of_join` and `newest` against the oracle: ten thousand histories, no difference."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING
from unittest import mock

import polars as pl
from hypothesis import given, settings

from windtunnel.features.offline import chunks
from windtunnel.features.offline.as_of_join import FeatureRows, as_of_join
from windtunnel.features.offline.newest import newest

from . import oracle
from .histories import HOUR, MOMENT, START, histories, ttl_of

if TYPE_CHECKING:
    from .histories import History
    from .oracle import View

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def frame(table: object) -> pl.DataFrame:
    made = pl.from_arrow(table)
    assert isinstance(made, pl.DataFrame)
    return made


def feature_rows(history: History, view: View) -> FeatureRows:
    """In as many pieces as the history says; polars reads each as a file."""
    whole = frame(history.table(view))
    pieces = max(1, min(history.cut, whole.height))
    edges = [whole.height * number // pieces for number in range(pieces + 1)]
    parts = [whole[first:end].lazy() for first, end in pairwise(edges)]
    return FeatureRows(
        pl.concat(parts), view.keys, view.event, view.created, ttl_of(view), view.features, view.name
    )


def memory(history: History, view: View) -> int:
    """Room for few rows when the history is cut, so that pieces are read one after the other."""
    return len(view.types) * 2 if history.cut > 1 else chunks.CELLS


@settings(max_examples=10_000)
@given(history=histories())
def test_ten_thousand_histories(history: History) -> None:
    asked = frame(history.entity_table())
    views = [feature_rows(history, view) for view in history.views]
    with mock.patch.object(chunks, "CELLS", memory(history, history.views[0])):
        got = as_of_join(asked, MOMENT, views, known_then=history.known_then)
    assert got.select(asked.columns).equals(asked)
    want = oracle.answer(history.entity_rows, MOMENT, history.views, known_then=history.known_then)
    for view in history.views:
        for name in view.features.values():
            assert got[name].to_list() == [row[name] for row in want]


@settings(max_examples=1_000)
@given(history=histories())
def test_the_newest_rows(history: History) -> None:
    view = history.views[0]
    first, last = START, START + 4 * HOUR
    rows = feature_rows(history, view)
    parts = newest(
        rows,
        EPOCH + timedelta(microseconds=first // 1_000),
        EPOCH + timedelta(microseconds=last // 1_000),
        memory(history, view),
    )
    got = [row for part in parts for row in part["number"].to_list()]
    assert sorted(got) == sorted(row["number"] for row in oracle.newest(view, first, last))

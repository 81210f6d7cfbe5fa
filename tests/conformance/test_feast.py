"""Several hundred histories through the whole of Feast's API: the platform's store answers as the oracle."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest
from hypothesis import given, settings

from . import oracle
from .engines import ASOF
from .histories import MOMENT, histories

if TYPE_CHECKING:
    from .histories import History
    from .oracle import Row


def expected(history: History) -> list[Row]:
    answers = oracle.answer(history.entity_rows, MOMENT, history.views, known_then=history.known_then)
    names = ["row", *(name for view in history.views for name in view.features.values())]
    return [{name: row[name] for name in names} for row in answers]


@pytest.mark.parametrize("entity_rows", ["pandas", "arrow", "parquet"])
@settings(max_examples=150)
@given(history=histories())
def test_histories_through_feast(
    history: History, entity_rows: Literal["pandas", "arrow", "parquet"]
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        got = ASOF.ask(history, Path(directory), entity_rows)
    assert got == expected(history)

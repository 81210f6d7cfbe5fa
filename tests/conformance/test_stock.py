"""Stock Feast beside the oracle: where its stores answer otherwise is said here, and in docs/feast.md.

A case that is not named below must give the oracle's answer; one that is named must not (strict: when a
release of Feast mends it, the test says so).
"""

from __future__ import annotations

import dataclasses
import warnings
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, assume, given, settings

from .cases import CASES, entity, history, row, view
from .engines import ASOF, DASK, DUCKDB
from .histories import HOUR, histories
from .test_feast import expected

if TYPE_CHECKING:
    from pathlib import Path

    from .engines import Engine
    from .histories import History
    from .oracle import Row

UNORDERED = "entity rows come back in another order"
DIFFERS: dict[str, dict[str, str]] = {
    "asof": {},
    "duckdb": {
        "nanoseconds asked": "moments between two microseconds are refused",
        "nanoseconds stored": "event timestamps are cut to microseconds: a row is seen before its time",
        "ttl of a day and an hour": "a ttl of days and hours is refused",
    },
    "dask": {
        "equal entity rows": "equal entity rows come back once",
        "null key": "a null key equals a null key",
        "null second key": "a null key equals a null key",
        "NaN key": "a NaN key equals a NaN key",
        "null moment": "an entity row without a moment is lost",
        "both ends of the ttl": "an entity row whose rows have all expired or come later is lost",
        "nanoseconds stored": "an entity row whose rows all come later is lost",
        "naive rows": "an entity row whose rows all come later is lost",
        "rows in another zone": "an entity row whose rows all come later is lost",
        "asked in another zone": "an entity row whose rows all come later is lost",
        "two views": "equal entity rows come back once",
    },
}

# Of rows with equal timestamps any may win, now this and now that.
ANY_WINS = ("equal timestamps", "equal timestamps in two files")


def same(value: Any) -> str:
    """Dask turns integers into floats."""
    return str([{name: None if v is None else float(v) for name, v in row.items()} for row in value])


def in_order(rows: list[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: row["row"])


def ask(engine: Engine, history: History, directory: Path) -> list[Row]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return engine.ask(history, directory)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("engine", [ASOF, DUCKDB, DASK], ids=lambda engine: engine.name)
def test_cases(engine: Engine, case: str, tmp_path: Path) -> None:
    asked = CASES[case]
    reason = DIFFERS[engine.name].get(case)
    try:
        got = ask(engine, asked, tmp_path)
    except Exception:
        if not reason:
            raise
        return
    # Only ours promises the order; see below.
    got = got if engine is ASOF else in_order(got)
    if engine is not ASOF and case in ANY_WINS:
        (stored,) = asked.views
        assert [answer["number_0"] for answer in got] in [[one["number"]] for one in stored.rows]
    elif reason:
        assert same(got) != same(expected(asked)), f"no longer true of {engine.name}: {reason}"
    else:
        assert same(got) == same(expected(asked))


@pytest.mark.parametrize("engine", [DUCKDB, DASK], ids=lambda engine: engine.name)
def test_stock_gives_entity_rows_in_another_order(engine: Engine, tmp_path: Path) -> None:
    rows = entity(*((key % 4, 9 - key % 7) for key in range(60)))
    got = ask(engine, history([view([row(1, 0), row(2, 1, k=2)])], rows), tmp_path)
    assert got != in_order(got), f"no longer true: {UNORDERED}"


@settings(max_examples=100, suppress_health_check=list(HealthCheck))
@given(made=histories())
def test_duckdb_agrees_in_all_else(made: History, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Without nanoseconds, ties and ttls of days and hours, stock Feast on DuckDB answers as ours does."""
    assume(made.entity_rows and made.asked.unit == made.stored.unit == "us")
    assume(all(asked.ttl != 30 * HOUR for asked in made.views))
    views = []
    for asked in made.views:
        kept = {}
        for stored in asked.rows:
            kept[
                *(str(stored[key]) for key in asked.keys.values()),
                stored[asked.event],
                asked.created and stored["created"],
            ] = stored
        views.append(dataclasses.replace(asked, rows=list(kept.values())))
    made = dataclasses.replace(made, views=views)
    got = ask(DUCKDB, made, tmp_path_factory.mktemp("history"))
    assert str(in_order(got)) == str(expected(made))

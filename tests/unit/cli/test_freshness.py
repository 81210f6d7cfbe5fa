"""What `windtunnel status` says of the online store's views."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from windtunnel.cli.freshness import words_of
from windtunnel.features.freshness import ViewFreshness, write_freshness
from windtunnel.local.home import Home
from windtunnel.records import StageRecord, Usage, write_record

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Shell


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (59, "59 s"),
        (60, "1 minute"),
        (5400, "1.5 hours"),
        (3 * 86_400, "3 days"),
        (407_000_000, "12.9 years"),
        (-7200, "-2 hours"),
    ],
)
def test_a_span_is_told_by_its_largest_unit(seconds: float, words: str) -> None:
    assert words_of(seconds) == words


def published(view: str, age: timedelta | None, objective: timedelta | None) -> ViewFreshness:
    now = datetime.now(UTC)
    return ViewFreshness(
        view=view,
        newest_event=now - age if age is not None else None,
        end="2026-01-01",
        rows=7,
        bytes=70,
        seconds=0.5,
        objective_seconds=objective.total_seconds() if objective else None,
        published=now,
    )


def test_status_tells_how_fresh_each_view_is_and_which_one_is_stale(
    windtunnel: Shell, tmp_path: Path
) -> None:
    windtunnel("init", "churn")
    home = Home.at(tmp_path / ".windtunnel")
    home.prepare()
    store = home.open_store()
    now = datetime.now(UTC)
    write_record(
        store,
        "churn",
        StageRecord("publish", "local-1", 1, None, now, now, Usage().measure(), None, "", "pod", "s", "c"),
        None,  # type: ignore[arg-type]
    )
    code, output = windtunnel("status")
    assert code == 0
    assert "Freshness" not in output
    day = timedelta(days=1)
    for view in (
        published("late", 3 * day, 2 * day),
        published("early", day, 2 * day),
        published("old", 4000 * day, None),
        published("never", None, day),
    ):
        write_freshness(store, "churn", view)
    code, output = windtunnel("status")
    assert code == 0
    lines = {line.split()[0]: line for line in output.splitlines() if line.strip()}
    assert "3 days" in lines["late"]
    assert "2 days: STALE" in lines["late"]
    assert "2 days: kept" in lines["early"]
    assert "11 years" in lines["old"]
    assert "STALE" not in lines["old"]
    assert "1 day: STALE" in lines["never"]

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from windtunnel.retention.contents import Kind, Unit
from windtunnel.retention.rules import KEPT_RUNS, old_enough
from windtunnel.spec.retention import Retention

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
RETENTION = Retention(unreferenced_days=30, record_days=90, prediction_days=60, feature_days=100)


def unit(kind: Kind, *, written: float = 0, day: date | None = None, folder: bool = True) -> Unit:
    """Written so many days ago."""
    place = f"shop/{kind}/x/" if folder else f"shop/{kind}/x.json"
    return Unit(kind, place, NOW - timedelta(days=written), day, keys=[] if folder else [place])


@pytest.mark.parametrize(
    ("kind", "days"), [("bundles", 30), ("snapshots", 30), ("cache", 90), ("reports", 90), ("scores", 60)]
)
def test_what_is_kept_for_days_after_it_was_written_goes_then(kind: Kind, days: int) -> None:
    young, old = (
        unit(kind, written=days - 0.1, folder=False),
        unit(kind, written=days + 0.1, folder=False),
    )
    assert old_enough([young, old], RETENTION, NOW) == [old]


@pytest.mark.parametrize("kind", ["records", "logs"])
def test_the_newest_runs_keep_their_records_and_logs(kind: Kind) -> None:
    runs = [unit(kind, written=200 + number) for number in range(KEPT_RUNS + 3)]
    assert old_enough(runs, RETENTION, NOW) == runs[KEPT_RUNS:]
    assert old_enough([unit(kind, written=89) for _ in range(50)], RETENTION, NOW) == []


def test_notes_of_scorings_take_no_places_of_runs() -> None:
    notes = [unit("records", written=100, folder=False) for _ in range(3)]
    assert old_enough(notes, RETENTION, NOW) == notes


def test_predictions_go_by_the_day_of_their_answer() -> None:
    first_kept = NOW.date() - timedelta(days=59)
    kept = unit("predictions", written=500, day=first_kept)
    gone = unit("predictions", day=first_kept - timedelta(days=1))
    assert old_enough([kept, gone], RETENTION, NOW) == [gone]


def test_features_go_by_the_newest_day_that_there_is_not_by_the_clock() -> None:
    days = [date(2013, 6, 1) - timedelta(days=back) for back in (0, 50, 99, 100, 300)]
    units = [unit("features", written=1000, day=day) for day in days]
    partitions = [unit("partitions", written=1000, day=day) for day in days[1:]]
    assert old_enough([*units, *partitions], RETENTION, NOW) == [*units[3:], *partitions[2:]]


def test_what_has_no_limit_stays_for_ever() -> None:
    long_ago = date(1990, 1, 1)
    units = [
        unit(kind, written=10_000, day=long_ago)
        for kind in ("predictions", "scores", "partitions", "features")
    ]
    units += [unit("features", day=NOW.date())]
    assert old_enough(units, Retention(), NOW) == []


def test_what_is_not_known_never_goes() -> None:
    assert old_enough([unit("other", written=100_000)], RETENTION, NOW) == []

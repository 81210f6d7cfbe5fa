from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Literal

import pytest
from aged_store import shop

from windtunnel.retention.contents import Kind, Unit
from windtunnel.retention.rules import KEPT_RUNS, old_enough
from windtunnel.spec.retention import Retention
from windtunnel.spec.stages import RETAIN_DAG

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
RETENTION = Retention(unreferenced_days=30, record_days=90, prediction_days=60, feature_days=100)
LIFECYCLE = shop(RETENTION)


def unit(
    kind: Kind,
    *,
    written: float = 0,
    day: date | None = None,
    folder: bool = True,
    group: str = "x",
    tells: set[str] | None = None,
) -> Unit:
    """Written so many days ago."""
    place = f"shop/{kind}/{group}/{day}" + ("/" if folder else ".json")
    keys = [] if folder else [place]
    return Unit(kind, place, NOW - timedelta(days=written), day, keys=keys, tells=tells or set())


def day_of(kind: Literal["partitions", "features"], day: date, written: float = 1000) -> Unit:
    """Of the source and the view that there are."""
    group = "orders" if kind == "partitions" else "customer"
    return unit(kind, written=written, day=day, folder=False, group=group)


@pytest.mark.parametrize(
    ("kind", "days"), [("bundles", 30), ("snapshots", 30), ("cache", 90), ("reports", 90), ("scores", 60)]
)
def test_what_is_kept_for_days_after_it_was_written_goes_then(kind: Kind, days: int) -> None:
    young, old = (
        unit(kind, written=days - 0.1, folder=False),
        unit(kind, written=days + 0.1, folder=False),
    )
    assert old_enough([young, old], LIFECYCLE, NOW) == [old]


@pytest.mark.parametrize(
    ("kind", "train", "monitor", "retain"),
    [
        ("records", "train", "monitor", "retain"),
        ("logs", "dag_id=shop__train", "dag_id=shop__monitor", f"dag_id={RETAIN_DAG}"),
    ],
)
def test_the_newest_runs_of_each_kind_keep_their_records_and_logs(
    kind: Kind, train: str, monitor: str, retain: str
) -> None:
    """However many others came later; of a sweep nobody asks later."""
    trained = [unit(kind, written=500 + number, tells={train}) for number in range(KEPT_RUNS + 3)]
    watched = [unit(kind, written=200 + number, tells={monitor}) for number in range(KEPT_RUNS + 3)]
    swept = [unit(kind, written=100 + number, tells={retain}) for number in range(KEPT_RUNS + 3)]
    gone = old_enough([*swept, *watched, *trained], LIFECYCLE, NOW)
    assert gone == [*swept, *watched[KEPT_RUNS:], *trained[KEPT_RUNS:]]
    assert old_enough([unit(kind, written=89, tells={retain}) for _ in range(50)], LIFECYCLE, NOW) == []


def test_notes_of_scorings_take_no_places_of_runs() -> None:
    notes = [unit("records", written=100, folder=False) for _ in range(3)]
    assert old_enough(notes, LIFECYCLE, NOW) == notes


def test_predictions_go_by_the_day_of_their_answer() -> None:
    first_kept = NOW.date() - timedelta(days=59)
    kept = unit("predictions", written=500, day=first_kept)
    gone = unit("predictions", day=first_kept - timedelta(days=1))
    assert old_enough([kept, gone], LIFECYCLE, NOW) == [gone]


def test_features_go_by_the_newest_day_that_there_is_not_by_the_clock() -> None:
    days = [date(2013, 6, 1) - timedelta(days=back) for back in (0, 50, 99, 100, 300)]
    units = [day_of("features", day) for day in days]
    partitions = [day_of("partitions", day) for day in days]
    assert old_enough([*units, *partitions], LIFECYCLE, NOW) == [*units[3:], *partitions[3:]]


def test_their_age_is_told_by_the_source_that_is_behind() -> None:
    """Trainings wait for it, and reach back from there."""
    ahead = [day_of("features", NOW.date() - timedelta(days=back)) for back in (0, 99, 100, 149, 150)]
    behind = day_of("partitions", NOW.date() - timedelta(days=50))
    assert old_enough([*ahead, behind], LIFECYCLE, NOW) == [ahead[4]]
    assert old_enough(ahead, LIFECYCLE, NOW) == [], "of the source there is nothing yet"
    of_another = unit("partitions", written=9, day=NOW.date(), folder=False, group="a-former-source")
    assert old_enough([*ahead, of_another], LIFECYCLE, NOW) == []


def test_a_day_that_is_yet_to_come_makes_no_other_older() -> None:
    units = [day_of(kind, NOW.date()) for kind in ("partitions", "features")]
    units += [day_of("partitions", date(2099, 1, 1)), day_of("features", date(2099, 1, 1))]
    assert old_enough(units, LIFECYCLE, NOW) == []


def test_a_day_of_long_ago_that_was_filled_just_now_stays_for_the_run_that_did_it() -> None:
    newest = [day_of(kind, NOW.date()) for kind in ("partitions", "features")]
    filled = [day_of("features", date(2013, 1, 1), written=written) for written in (0.9, 1.1)]
    assert old_enough([*newest, *filled], LIFECYCLE, NOW) == filled[1:]


def test_what_has_no_limit_stays_for_ever() -> None:
    long_ago = date(1990, 1, 1)
    units = [
        unit(kind, written=10_000, day=long_ago)
        for kind in ("predictions", "scores", "partitions", "features")
    ]
    units += [unit("features", day=NOW.date())]
    assert old_enough(units, shop(Retention()), NOW) == []


def test_what_is_not_known_never_goes() -> None:
    assert old_enough([unit("other", written=100_000)], LIFECYCLE, NOW) == []

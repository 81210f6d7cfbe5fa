"""What a monitor run answers and what the ledger then tells."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from windtunnel.features.freshness import ViewFreshness, write_freshness
from windtunnel.ledger import Ledger
from windtunnel.monitoring.measures import Answers, Drift, Measure, Window, measure_key, write_measure
from windtunnel.monitoring.story import measures_before, respond
from windtunnel.spec import load_lifecycle

if TYPE_CHECKING:
    from pathlib import Path

    from windtunnel.objects import ObjectStore
    from windtunnel.spec import Lifecycle

DAY = timedelta(days=1)
NOW = datetime.now(UTC)
CUTOFF = date(2026, 2, 1)


@pytest.fixture
def lifecycle(lifecycle_directory: Path) -> Lifecycle:
    path = lifecycle_directory / "lifecycle.yaml"
    path.write_text(path.read_text() + "  monitoring: {retrain: {onDrift: true}}\n")
    return load_lifecycle(lifecycle_directory)


def published(store: ObjectStore, **ends: str) -> None:
    for view, end in ends.items():
        write_freshness(store, "demo", ViewFreshness(view, NOW, end, 1, 1, 1.0, None, NOW))


def window(day: int, *, bad: bool, version: str = "1") -> Measure:
    end = NOW + day * DAY
    return Measure(
        lifecycle="demo", version=version, bundle=f"sha256:{version}", run_id=f"run-{day}", made=end,
        window=Window(end - DAY, end, 5000, 1.0, True), reference=None,
        answers=Answers({"champion": 5000}, 0.0, None),
        drift=Drift((), None, None, ("spend",)) if bad else None,
    )  # fmt: skip


def look(store: ObjectStore, lifecycle: Lifecycle, measure: Measure) -> dict[str, Any]:
    span = measure.window
    before = measures_before(store, lifecycle, measure.version, measure.series, span.start, span.end)
    told, facts = respond(store, lifecycle, measure, before, CUTOFF, span.end)
    write_measure(store, told)
    return facts


def story(store: ObjectStore) -> list[str]:
    return [entry["action"] for entry in Ledger(store, "demo").entries()]


def test_drift_that_lasts_asks_for_a_training_on_the_newest_days_of_all_views(
    store: ObjectStore, lifecycle: Lifecycle
) -> None:
    published(store, customer="2026-02-20", product="2026-02-19")
    assert look(store, lifecycle, window(0, bad=True))["state"] == "watching"
    second = window(1, bad=True)
    assert look(store, lifecycle, second) == {
        "state": "retrain",
        "reason": "drift of spend, for 2 windows in a row",
        "retrain": True,
        "measure": measure_key(second),
        "end": "2026-02-19",
    }
    drift, retraining = Ledger(store, "demo").entries()
    assert (drift["action"], retraining["action"]) == ("drift", "retraining")
    assert drift["measure"] == measure_key(second)
    assert (retraining["version"], retraining["bundle_digest"]) == ("1", "sha256:1")
    assert (retraining["end"], retraining["cutoff"]) == (
        "2026-02-19",
        str(lifecycle.cutoff(date(2026, 2, 19))),
    )


def test_good_windows_of_the_next_champion_end_the_story(store: ObjectStore, lifecycle: Lifecycle) -> None:
    published(store, customer="2026-02-20", product="2026-02-20")
    for day, bad, version in (
        (0, True, "1"),
        (1, True, "1"),
        (2, False, "2"),
        (3, False, "2"),
        (4, False, "2"),
    ):
        look(store, lifecycle, window(day, bad=bad, version=version))
    assert story(store) == ["drift", "retraining", "recovered"]


def test_a_run_that_is_tried_again_tells_nothing_twice(store: ObjectStore, lifecycle: Lifecycle) -> None:
    published(store, customer="2026-02-20", product="2026-02-20")
    look(store, lifecycle, window(0, bad=True))
    first = look(store, lifecycle, window(1, bad=True))
    late = replace(window(1, bad=True), made=NOW + 1.5 * DAY)
    assert look(store, lifecycle, late) == first
    assert story(store) == ["drift", "retraining"]


def test_days_that_the_champion_knows_already_start_no_training(
    store: ObjectStore, lifecycle: Lifecycle
) -> None:
    published(store, customer=str(CUTOFF), product=str(CUTOFF))
    for day in range(3):
        facts = look(store, lifecycle, window(day, bad=True))
    assert (facts["state"], facts["retrain"]) == ("watching", False)
    assert "load newer days" in facts["reason"]
    assert story(store) == ["drift"]


def test_where_no_days_were_published_the_training_chooses_them(
    store: ObjectStore, lifecycle: Lifecycle
) -> None:
    published(store, customer="2026-02-20")
    look(store, lifecycle, window(0, bad=True))
    facts = look(store, lifecycle, window(1, bad=True))
    assert (facts["retrain"], facts["end"]) == (True, None)


@pytest.mark.parametrize(
    ("rule", "state"),
    [("perWeek: 1, coolDown: 1h", "out_of_budget"), ("coolDown: 30d", "cooling_down")],
)
def test_what_else_is_told_meanwhile_makes_no_training_forgotten(
    store: ObjectStore, lifecycle_directory: Path, rule: str, state: str
) -> None:
    """A lifecycle that trains with each hour's features has a refusal an hour in its ledger."""
    path = lifecycle_directory / "lifecycle.yaml"
    path.write_text(path.read_text() + f"  monitoring: {{retrain: {{onDrift: true, {rule}}}}}\n")
    lifecycle = load_lifecycle(lifecycle_directory)
    for day in range(2):
        facts = look(store, lifecycle, window(day, bad=True))
    assert facts["retrain"]
    ledger = Ledger(store, "demo")
    for _ in range(150):
        ledger.append({"action": "refusal"})
    assert look(store, lifecycle, window(6, bad=True))["state"] == state
    assert story(store).count("retraining") == 1


def test_a_schedule_that_looks_every_five_minutes_still_sees_the_day_before(
    store: ObjectStore, lifecycle: Lifecycle
) -> None:
    published(store, customer="2026-02-20", product="2026-02-19")
    for minutes in range(0, 24 * 60, 5):
        write_measure(store, moved(window(0, bad=True), timedelta(minutes=minutes)))
    assert look(store, lifecycle, window(1, bad=True))["retrain"]


def test_a_persons_looks_take_no_place_of_the_schedules_windows(
    store: ObjectStore, lifecycle: Lifecycle
) -> None:
    """A look right after the window of yesterday does not hide it, and counts for nothing itself."""
    published(store, customer="2026-02-20", product="2026-02-19")
    look(store, lifecycle, window(0, bad=True))
    for minutes in (5, 65):
        asked = replace(moved(window(0, bad=True), timedelta(minutes=minutes)), continues=False)
        assert not look(store, lifecycle, asked)["retrain"]
    facts = look(store, lifecycle, window(1, bad=True))
    assert (facts["retrain"], facts["reason"]) == (True, "drift of spend, for 2 windows in a row")
    assert {entry["series"] for entry in Ledger(store, "demo").entries()} == {"predictions"}


def moved(measure: Measure, span: timedelta) -> Measure:
    times = replace(measure.window, start=measure.window.start + span, end=measure.window.end + span)
    return replace(measure, window=times, run_id=f"after-{span.total_seconds():.0f}")

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from faulty_store import FaultyStore
from recorded import NOON, measure, put_record, stage_record, view_state

from windtunnel.exporter import lifecycle_reader
from windtunnel.exporter.lifecycle_reader import KEEP_EVERY_SECONDS, LifecycleReader
from windtunnel.features.freshness import freshness_folder, write_freshness
from windtunnel.ledger import Ledger
from windtunnel.monitoring.measures import measure_key, write_measure
from windtunnel.spec.failures import Reason

NOW = datetime.now(UTC)


class Reading:
    """A reader of the lifecycle `shop`, and what it said that it could not read."""

    def __init__(self, store: FaultyStore) -> None:
        self.failures: Counter[str] = Counter()
        self.reader = LifecycleReader(store, "shop", lambda of: self.failures.update([of]))
        self.state = self.reader.state

    def look(self) -> bool:
        return self.reader.look(NOW)


@pytest.fixture
def store() -> FaultyStore:
    return FaultyStore()


def test_all_that_was_recorded_is_read(store: FaultyStore) -> None:
    put_record(store, "shop", stage_record())
    Ledger(store, "shop").append({"action": "promotion"})
    write_measure(store, measure())
    write_freshness(store, "shop", view_state())
    reading = Reading(store)
    assert reading.look()
    assert reading.state.complete
    assert reading.state.totals.stages["train"].runs == {"success": 1}
    assert reading.state.totals.ledger == {"promotion": 1}
    assert reading.state.measure == measure()
    assert reading.state.freshness == {"customer": view_state()}
    assert reading.failures == {}


def test_a_second_look_reads_only_what_is_new(store: FaultyStore) -> None:
    put_record(store, "shop", stage_record())
    Ledger(store, "shop").append({"action": "promotion"})
    write_measure(store, measure())
    write_freshness(store, "shop", view_state())
    reading = Reading(store)
    reading.look()
    store.calls.clear()
    reading.look()
    assert store.calls["get"] == 0
    put_record(store, "shop", stage_record(try_number=2))
    Ledger(store, "shop").append({"action": "rollback"})
    store.calls.clear()
    reading.look()
    assert store.calls["get"] == 2
    assert reading.state.totals.stages["train"].runs == {"success": 2}
    assert reading.state.totals.ledger == {"promotion": 1, "rollback": 1}


def test_a_restart_goes_on_from_what_was_kept(store: FaultyStore) -> None:
    for number in (1, 2, 3):
        put_record(store, "shop", stage_record(try_number=number))
    Ledger(store, "shop").append({"action": "promotion"})
    first = Reading(store)
    first.look()
    first.reader.keep(0.0)
    put_record(store, "shop", stage_record(try_number=4, reason=Reason.TIMEOUT))
    store.calls.clear()
    second = Reading(store)
    assert second.look()
    assert store.calls["get"] == 2, "the totals and the new record"
    assert second.state.totals.stages["train"].runs == {"success": 3, "failed": 1}
    assert second.state.totals.ledger == {"promotion": 1}


def test_totals_that_cannot_be_read_are_counted_anew(store: FaultyStore) -> None:
    put_record(store, "shop", stage_record())
    store.put("shop/exporter/totals.json", b"[]")
    reading = Reading(store)
    assert reading.look()
    assert reading.state.totals.stages["train"].runs == {"success": 1}


def test_totals_are_written_when_they_changed_and_not_at_each_look(store: FaultyStore) -> None:
    reading = Reading(store)
    reading.look()
    reading.reader.keep(0.0)
    assert not store.exists("shop/exporter/totals.json")
    put_record(store, "shop", stage_record())
    reading.look()
    reading.reader.keep(1.0)
    kept = store.get("shop/exporter/totals.json")
    put_record(store, "shop", stage_record(try_number=2))
    reading.look()
    reading.reader.keep(2.0)
    assert store.get("shop/exporter/totals.json") == kept
    reading.reader.keep(1.0 + KEEP_EVERY_SECONDS)
    assert store.get("shop/exporter/totals.json") != kept


def test_a_long_history_is_caught_up_with_in_several_looks(
    store: FaultyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifecycle_reader, "MOST_AT_ONCE", 2)
    for number in range(1, 6):
        put_record(store, "shop", stage_record(try_number=number))
    reading = Reading(store)
    seen = []
    for _ in range(3):
        reading.look()
        seen.append((reading.state.waiting, reading.state.complete))
    assert seen == [(3, False), (1, False), (0, True)]
    assert reading.state.totals.stages["train"].runs == {"success": 5}


def test_a_store_that_is_away_costs_nothing_that_was_known(store: FaultyStore) -> None:
    put_record(store, "shop", stage_record())
    write_measure(store, measure())
    reading = Reading(store)
    reading.look()
    store.away = True
    put = stage_record(try_number=2)
    assert not reading.look()
    assert reading.failures == {"records": 1, "ledger": 1, "measures": 1, "freshness": 1}
    assert reading.state.complete
    assert reading.state.measure == measure()
    store.away = False
    put_record(store, "shop", put)
    assert reading.look()
    assert reading.state.totals.stages["train"].runs == {"success": 2}


# The first call asks for totals that are not there.
@pytest.mark.parametrize("lost", range(1, 8))
def test_whichever_answer_is_lost_all_is_counted_once_in_the_end(store: FaultyStore, lost: int) -> None:
    for number in (1, 2, 3):
        put_record(store, "shop", stage_record(try_number=number))
    Ledger(store, "shop").append({"action": "promotion"})
    reading = Reading(store)
    store.faults = iter([*[None] * lost, "after"])
    assert not reading.look()
    assert reading.look()
    assert reading.state.totals.stages["train"].runs == {"success": 3}
    assert reading.state.totals.ledger == {"promotion": 1}


def test_a_broken_file_is_told_once_and_hides_no_other(store: FaultyStore) -> None:
    store.put("shop/runs/one/train.1.json", b"not json")
    put_record(store, "shop", stage_record())
    store.put(f"{freshness_folder('shop')}/product.json", b"{}")
    write_freshness(store, "shop", view_state())
    write_measure(store, measure())
    store.put(measure_key(measure(end=NOON + timedelta(days=1))), b"[]")
    reading = Reading(store)
    reading.look()
    reading.look()
    assert reading.failures == {"records": 1, "freshness": 1, "measures": 1}
    assert reading.state.totals.stages["train"].runs == {"success": 1}
    assert list(reading.state.freshness) == ["customer"]


def test_an_odd_entry_of_the_ledger_is_told_once_and_those_behind_it_are_counted(store: FaultyStore) -> None:
    ledger = Ledger(store, "shop")
    ledger.append({"action": "promotion"})
    store.put("shop/ledger/000002.json", b"not json")
    store.put("shop/ledger/000003.json", b'{"action": "promotion", "number": 3}')
    ledger.append({"action": "rollback"})
    reading = Reading(store)
    reading.look()
    reading.look()
    assert reading.state.totals.ledger == {"promotion": 1, "rollback": 1}
    assert reading.failures == {"ledger": 2}


def test_behind_a_measure_that_cannot_be_read_the_one_before_is_found(store: FaultyStore) -> None:
    write_measure(store, measure())
    store.put(measure_key(measure(end=NOON + timedelta(days=1))), b"[]")
    reading = Reading(store)
    reading.look()
    reading.look()
    assert reading.state.measure == measure()


def test_a_look_at_another_version_is_not_how_the_champion_is(store: FaultyStore) -> None:
    write_measure(store, measure())
    write_measure(store, measure(end=NOON + timedelta(hours=1), version="2", policy=None))
    reading = Reading(store)
    reading.look()
    reading.look()
    assert reading.state.measure == measure()
    assert not reading.failures
    later = measure(end=NOON + timedelta(hours=2))
    write_measure(store, later)
    reading.look()
    assert reading.state.measure == later


def test_the_measure_shown_is_of_the_newest_window_and_of_its_last_run(store: FaultyStore) -> None:
    reading = Reading(store)
    write_measure(store, measure())
    store.put(measure_key(measure()).replace(".json", ".html"), b"<html>")
    reading.look()
    assert reading.state.measure == measure()
    earlier = measure(end=NOON - timedelta(days=1), version="9")
    write_measure(store, earlier)
    reading.look()
    assert reading.state.measure == measure(), "an older window, measured later, is no news"
    again = measure(run_id="manual__2026-03-02", version="2")
    write_measure(store, again)
    reading.look()
    assert reading.state.measure == again


def test_a_view_that_is_gone_is_not_shown_and_a_changed_one_is_read_again(store: FaultyStore) -> None:
    write_freshness(store, "shop", view_state())
    write_freshness(store, "shop", view_state("product"))
    reading = Reading(store)
    reading.look()
    store.delete(f"{freshness_folder('shop')}/product.json")
    write_freshness(store, "shop", view_state(rows=7))
    reading.look()
    assert reading.state.freshness == {"customer": view_state(rows=7)}


def test_a_failure_explained_later_is_read_again(store: FaultyStore) -> None:
    key = put_record(store, "shop", stage_record(reason=Reason.STOPPED))
    reading = Reading(store)
    reading.look()
    store.put(key, json.dumps(stage_record(reason=Reason.EVICTED).to_json()).encode())
    reading.look()
    assert reading.state.totals.stages["train"].failures == {"stopped": 1, "evicted": 1}

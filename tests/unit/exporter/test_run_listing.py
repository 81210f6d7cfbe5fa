from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from faulty_store import FaultyStore

from windtunnel.errors import StoreError
from windtunnel.exporter.run_listing import EVERYTHING_AFTER, OPEN_FOR, RunListing

SOON = EVERYTHING_AFTER / 2


def now() -> datetime:
    """Of each test: the store dates what it gets by the clock."""
    return datetime.now(UTC)


def put(store: FaultyStore, run: str, name: str = "train.1.json") -> str:
    key = f"shop/runs/{run}/{name}"
    store.put(key, b"{}")
    return key


def keys(listing: RunListing, moment: datetime) -> set[str]:
    return {entry.key for entry in listing.look(moment, lambda _: True, 100)[0]}


def test_the_first_look_lists_everything_and_the_next_only_runs_at_work() -> None:
    store = FaultyStore()
    old, new = put(store, "one"), put(store, "two")
    listing = RunListing(store, "shop")
    assert keys(listing, now()) == {old, new}
    assert store.calls["list"] == 1
    store.calls.clear()
    third = put(store, "three")
    assert keys(listing, now() + SOON) == {old, new, third}
    assert (store.calls["folders"], store.calls["list"]) == (1, 3)


def test_a_run_that_is_long_over_costs_no_request() -> None:
    store = FaultyStore()
    for run in range(20):
        put(store, f"run{run}")
    listing = RunListing(store, "shop")
    later = now() + OPEN_FOR + timedelta(minutes=1)
    keys(listing, later)
    store.calls.clear()
    assert keys(listing, later + SOON) == set()
    assert (store.calls["folders"], store.calls["list"]) == (1, 0)


def test_what_comes_late_to_a_run_that_is_over_is_found_with_everything() -> None:
    store = FaultyStore()
    put(store, "one")
    listing = RunListing(store, "shop")
    later = now() + OPEN_FOR + timedelta(minutes=1)
    keys(listing, later)
    late = put(store, "one", "rollout.1.json")
    assert late not in keys(listing, later + SOON)
    assert late in keys(listing, later + EVERYTHING_AFTER)


def test_everything_is_listed_again_when_asked_for() -> None:
    store = FaultyStore()
    key = put(store, "one")
    listing = RunListing(store, "shop")
    later = now() + OPEN_FOR + timedelta(minutes=1)
    keys(listing, later)
    listing.again()
    assert keys(listing, later + SOON) == {key}


def test_a_run_that_was_swept_and_comes_again_is_new() -> None:
    store = FaultyStore()
    key = put(store, "one")
    listing = RunListing(store, "shop")
    later = now() + OPEN_FOR + timedelta(minutes=1)
    keys(listing, later)
    store.delete(key)
    assert keys(listing, later + SOON) == set()
    put(store, "one")
    assert keys(listing, later + SOON) == {key}


def test_what_is_no_record_is_left_out() -> None:
    store = FaultyStore()
    store.put("shop/runs/one/notes.txt", b"")
    assert keys(RunListing(store, "shop"), now()) == set()


def test_of_many_new_records_the_oldest_come_first_and_the_others_are_counted() -> None:
    store = FaultyStore()
    written = [put(store, run) for run in ("five", "one", "three")]
    entries = {entry.key: entry for entry in store.list("shop")}
    new, count = RunListing(store, "shop").look(now(), lambda _: True, 2)
    assert ([entry.key for entry in new], count) == (written[:2], 3)
    assert [entry.modified for entry in new] == sorted(entry.modified for entry in entries.values())[:2]


def test_what_was_counted_is_not_held() -> None:
    store = FaultyStore()
    old, new = put(store, "one"), put(store, "two")
    found = RunListing(store, "shop").look(now(), lambda entry: entry.key != old, 100)
    assert ([entry.key for entry in found[0]], found[1]) == ([new], 1)


def test_lifecycles_that_were_first_listed_together_list_everything_at_moments_of_their_own() -> None:
    store, waits = FaultyStore(), []
    for name in ("shop", "orders", "flight_delay"):
        store.put(f"{name}/runs/one/train.1.json", b"{}")
        listing = RunListing(store, name)
        later = now() + OPEN_FOR + timedelta(minutes=1)
        minutes = [m for m in range(40) if keys(listing, later + timedelta(minutes=m))]
        assert minutes[1] <= EVERYTHING_AFTER.total_seconds() / 60
        assert minutes[2] - minutes[1] == minutes[3] - minutes[2] == EVERYTHING_AFTER.total_seconds() / 60
        waits.append(minutes[1])
    assert len(set(waits)) == 3


def test_a_listing_that_breaks_off_loses_nothing() -> None:
    store = FaultyStore()
    key = put(store, "one")
    listing = RunListing(store, "shop")
    later = now() + OPEN_FOR + timedelta(minutes=1)
    store.faults = iter(["after"])
    with pytest.raises(StoreError):
        keys(listing, later)
    assert keys(listing, later + SOON) == {key}

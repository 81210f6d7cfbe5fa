from __future__ import annotations

from datetime import UTC, datetime, timedelta

from faulty_store import FaultyStore

from windtunnel.exporter.run_listing import EVERYTHING_AFTER, OPEN_FOR, RunListing

NOW = datetime.now(UTC)
SOON = EVERYTHING_AFTER / 2


def put(store: FaultyStore, run: str, name: str = "train.1.json") -> str:
    key = f"shop/runs/{run}/{name}"
    store.put(key, b"{}")
    return key


def keys(listing: RunListing, now: datetime) -> set[str]:
    return {entry.key for entry in listing.look(now)}


def test_the_first_look_lists_everything_and_the_next_only_runs_at_work() -> None:
    store = FaultyStore()
    old, new = put(store, "one"), put(store, "two")
    listing = RunListing(store, "shop")
    assert keys(listing, NOW) == {old, new}
    assert store.calls["list"] == 1
    store.calls.clear()
    third = put(store, "three")
    assert keys(listing, NOW + SOON) == {old, new, third}
    assert (store.calls["folders"], store.calls["list"]) == (1, 3)


def test_a_run_that_is_long_over_costs_no_request() -> None:
    store = FaultyStore()
    for run in range(20):
        put(store, f"run{run}")
    listing = RunListing(store, "shop")
    later = NOW + OPEN_FOR + timedelta(minutes=1)
    listing.look(later)
    store.calls.clear()
    assert keys(listing, later + SOON) == set()
    assert (store.calls["folders"], store.calls["list"]) == (1, 0)


def test_what_comes_late_to_a_run_that_is_over_is_found_with_everything() -> None:
    store = FaultyStore()
    put(store, "one")
    listing = RunListing(store, "shop")
    later = NOW + OPEN_FOR + timedelta(minutes=1)
    listing.look(later)
    late = put(store, "one", "rollout.1.json")
    assert late not in keys(listing, later + SOON)
    assert late in keys(listing, later + EVERYTHING_AFTER)


def test_everything_is_listed_again_when_asked_for() -> None:
    store = FaultyStore()
    key = put(store, "one")
    listing = RunListing(store, "shop")
    later = NOW + OPEN_FOR + timedelta(minutes=1)
    listing.look(later)
    listing.again()
    assert keys(listing, later + SOON) == {key}


def test_a_run_that_was_swept_and_comes_again_is_new() -> None:
    store = FaultyStore()
    key = put(store, "one")
    listing = RunListing(store, "shop")
    later = NOW + OPEN_FOR + timedelta(minutes=1)
    listing.look(later)
    store.delete(key)
    assert keys(listing, later + SOON) == set()
    put(store, "one")
    assert keys(listing, later + SOON) == {key}


def test_what_is_no_record_is_left_out() -> None:
    store = FaultyStore()
    store.put("shop/runs/one/notes.txt", b"")
    assert RunListing(store, "shop").look(NOW) == []

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from faulty_store import FaultyStore

from windtunnel.digests import canonical_json, digest
from windtunnel.errors import IntegrityError, StoreError
from windtunnel.ledger import Ledger

if TYPE_CHECKING:
    from windtunnel.objects import ObjectStore


def test_entries_are_numbered_and_chained(store: ObjectStore) -> None:
    ledger = Ledger(store, "demo")
    assert ledger.entries() == []
    assert [ledger.append({"event": "promoted"}), ledger.append({"event": "refused"})] == [1, 2]
    first, second = ledger.entries()
    assert (first["event"], first["previous"]) == ("promoted", "")
    assert second["previous"] == digest(store.get("demo/ledger/000001.json"))
    assert ledger.verify() == 2


def test_no_entry_is_lost_when_many_write(store: ObjectStore) -> None:
    def write(writer: int) -> list[int]:
        return [Ledger(store, "demo").append({"writer": writer, "n": n}) for n in range(4)]

    with ThreadPoolExecutor(6) as pool:
        numbers = [number for mine in pool.map(write, range(6)) for number in mine]
    assert sorted(numbers) == list(range(1, 25))
    assert Ledger(store, "demo").verify() == 24


def test_a_changed_entry_shows(store: ObjectStore) -> None:
    ledger = Ledger(store, "demo")
    for n in range(3):
        ledger.append({"n": n})
    key = "demo/ledger/000002.json"
    store.put(key, store.get(key).replace(b'"n":1', b'"n":9'))
    with pytest.raises(IntegrityError, match=r"000003\.json: the entry does not follow"):
        ledger.verify()


def test_a_missing_entry_shows(store: ObjectStore) -> None:
    ledger = Ledger(store, "demo")
    for n in range(3):
        ledger.append({"n": n})
    store.delete("demo/ledger/000002.json")
    with pytest.raises(IntegrityError, match="entry 2 is missing"):
        ledger.verify()
    # It shows, and holds nobody up.
    assert ledger.append({"n": 3}, identity="late") == 4


def test_an_entry_with_an_identity_is_written_once(store: ObjectStore) -> None:
    ledger = Ledger(store, "demo")
    begin = datetime.now(UTC)
    assert ledger.append_all([("a", {"n": 1}), ("", {"n": 2}), ("b", {"n": 3})], since=begin) == [1, 2, 3]
    again = [("a", {"n": 9}), ("c", {"n": 4}), ("", {"n": 2}), ("b", {"n": 9})]
    assert Ledger(store, "demo").append_all(again, since=begin) == [1, 4, 5, 3]
    assert ledger.append({"n": 9}, identity="c") == 4
    assert [entry["n"] for entry in ledger.entries()] == [1, 2, 3, 4, 2]
    found = ledger.find("b")
    assert found is not None
    assert (found["number"], found["n"]) == (3, 3)
    assert ledger.find("z") is None
    assert [entry["n"] for entry in ledger.newest(2)] == [4, 2]
    assert len(ledger.newest(100)) == ledger.verify() == 5


def test_what_came_after_an_entry_is_read_alone(store: ObjectStore) -> None:
    ledger = Ledger(store, "shop")
    for n in range(4):
        ledger.append({"n": n})
    store.put("shop/ledger/notes.txt", b"no entry")
    assert [(number, json.loads(data)["n"]) for number, data in ledger.after(2)] == [(3, 2), (4, 3)]
    assert [number for number, _ in ledger.after(0)] == [1, 2, 3, 4]
    assert list(ledger.after(4)) == []


def test_many_who_record_the_same_write_it_once_and_in_order(store: ObjectStore) -> None:
    wanted = [(f"act {n}", {"n": n}) for n in range(8)]
    begin = datetime.now(UTC)
    with ThreadPoolExecutor(6) as pool:
        for numbers in pool.map(lambda _: Ledger(store, "demo").append_all(wanted, since=begin), range(6)):
            assert numbers == list(range(1, 9))
    assert [entry["n"] for entry in Ledger(store, "demo").entries()] == list(range(8))
    assert Ledger(store, "demo").verify() == 8


def test_what_else_lies_in_the_folder_is_no_entry(store: ObjectStore) -> None:
    ledger = Ledger(store, "demo")
    ledger.append({"n": 1})
    store.put("demo/ledger/notes.txt", b"somebody was here")
    assert Ledger(store, "demo").append({"n": 2}) == 2


def filled(count: int, written: datetime) -> FaultyStore:
    """A ledger with entries, one a minute."""
    store, previous = FaultyStore(), ""
    for number in range(1, count + 1):
        at = (written + timedelta(minutes=number)).isoformat()
        content = {"number": number, "previous": previous, "written": at, "id": f"act {number}"}
        data = canonical_json(content)
        store.put(f"demo/ledger/{number:06d}.json", data)
        previous = digest(data)
    store.calls.clear()
    return store


def test_a_long_ledger_is_read_back_only_as_far_as_needed() -> None:
    store = filled(2_000, datetime(2026, 1, 1, tzinfo=UTC))
    ledger = Ledger(store, "demo")
    # the last entry, because it may be the one, and as the one before
    assert ledger.append({}, identity="new", since=datetime.now(UTC)) == 2_001
    assert store.calls == {"list": 1, "get": 2, "put_new": 1}
    store.calls.clear()
    assert ledger.append({}, identity="newer", since=datetime.now(UTC)) == 2_002
    assert store.calls["get"] <= 4
    store.calls.clear()
    end = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=2_000)
    assert ledger.append({}, identity="act 1990", since=end - timedelta(minutes=30)) == 1_990
    assert store.calls["get"] <= 2_002 - 1_990 + 1
    assert store.calls["put_new"] == 0


def test_a_listing_begins_where_the_last_one_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    store = filled(50, datetime(2026, 1, 1, tzinfo=UTC))
    listed: list[int] = []
    plain = FaultyStore.list

    def listing(self: FaultyStore, prefix: str = "", *, after: str = "") -> list[object]:
        found = plain(self, prefix, after=after)
        listed.append(len(found))
        return list(found)

    monkeypatch.setattr(FaultyStore, "list", listing)
    ledger = Ledger(store, "demo")
    ledger.append({})
    Ledger(store, "demo").append({})
    ledger.append({})
    assert listed == [50, 51, 1]


def test_a_put_whose_answer_was_lost_is_found_by_the_next_try() -> None:
    store = FaultyStore()
    ledger = Ledger(store, "demo")
    ledger.append({"n": 1}, identity="a")
    store.faults = iter([None, None, None, "after"])
    with pytest.raises(StoreError):
        ledger.append({"n": 2}, identity="b")
    assert ledger.append({"n": 2}, identity="b", since=datetime.now(UTC)) == 2
    assert ledger.verify() == 2

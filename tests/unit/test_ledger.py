from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from windtunnel.digests import digest
from windtunnel.errors import IntegrityError
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

"""Which former champions are held, when they are loaded, and what becomes of those that cannot be."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from loading import Loading, Told, loaded, version, warm
from waiting import until

from windtunnel.errors import IntegrityError, StoreError
from windtunnel.serving.memory import MIB, Room
from windtunnel.serving.metrics import Metrics

if TYPE_CHECKING:
    from windtunnel.spec.servedmodel import ModelVersion


def test_what_leaves_the_seat_is_held_without_a_load() -> None:
    load, told = Loading(), Told()
    left = loaded(version("1"))
    with warm(load, told) as held:
        held.want("demo", [version("1")], left)
        assert held.take(version("1")) is left
        assert told.states() == [("1", "Ready")]
        assert told.last[0]["mib"] == 3.0
    assert load.asked == []


def test_others_are_loaded_one_after_the_other_the_most_wanted_first() -> None:
    load, told = Loading(), Told()
    with warm(load, told) as held:
        held.want("demo", [version("3"), version("1"), version("2")])
        told.wait_for(("3", "Ready"), ("1", "Ready"), ("2", "Ready"))
        assert load.asked == ["3", "1", "2"]
        assert held.take(version("1")) is not None
        assert held.take(version("4")) is None


def test_one_that_is_wanted_no_more_is_let_go() -> None:
    load, told, metrics = Loading(), Told(), Metrics()
    with warm(load, told, metrics=metrics) as held:
        held.want("demo", [version("1"), version("2")])
        told.wait_for(("1", "Ready"), ("2", "Ready"))
        held.want("demo", [version("2")])
        assert (held.take(version("1")), told.states()) == (None, [("2", "Ready")])
        held.want("demo", [])
        assert told.last == ()
    assert not next(iter(metrics.model_bytes.collect())).samples
    assert load.asked == ["1", "2"]


def test_the_same_name_with_another_digest_is_another_version() -> None:
    other = version("1").model_copy(update={"digest": version("2").digest})
    with warm(Loading(), Told()) as held:
        held.want("demo", [version("1")], loaded(other))
        assert held.take(other) is None


def test_one_that_comes_back_from_the_seat_while_it_is_loaded_is_held_once() -> None:
    load, told = Loading(), Told()
    load.gate.clear()
    left = loaded(version("1"))
    with warm(load, told) as held:
        held.want("demo", [version("1")])
        until(lambda: load.asked)
        held.want("demo", [version("1")], left)
        load.gate.set()
        time.sleep(0.05)
        assert held.take(version("1")) is left


def test_a_store_that_is_away_is_asked_again() -> None:
    load, told = Loading(v1=[StoreError("away")]), Told()
    with warm(load, told) as held:
        held.want("demo", [version("1")])
        until(lambda: told.last and told.last[0]["message"])
        assert told.last[0]["state"] == "Loading"
        assert "away" in told.last[0]["message"]
        told.wait_for(("1", "Ready"))
        assert (load.asked, told.last[0]["message"]) == (["1", "1"], "")


@pytest.mark.parametrize(
    "error", [IntegrityError("promised another digest"), MemoryError(), ValueError("odd")]
)
def test_one_that_cannot_be_loaded_is_left_and_the_next_one_is_not(error: Exception) -> None:
    load, told = Loading(v1=[error]), Told()
    with warm(load, told) as held:
        held.want("demo", [version("1"), version("2")])
        told.wait_for(("1", "Failed"), ("2", "Ready"))
        assert held.take(version("1")) is None


def test_what_does_not_fit_is_not_even_read() -> None:
    load, told = Loading(), Told()
    room = Room(512 * MIB, 256 * MIB, lambda one: (40 if one.version == "1" else 1) * MIB, lambda: 100 * MIB)
    with warm(load, told, room) as held:
        held.want("demo", [version("1"), version("2")])
        told.wait_for(("1", "NoRoom"), ("2", "Ready"))
        assert load.asked == ["2"]
        assert "needs up to 568 MiB, and 92 are left" in told.last[0]["message"]


def test_the_least_wanted_one_goes_when_memory_is_short() -> None:
    taken = [100 * MIB]
    room = Room(512 * MIB, 256 * MIB, lambda _: 0, lambda: taken[0])
    told = Told()
    with warm(Loading(), told, room) as held:
        held.want("demo", [version("1"), version("2")])
        told.wait_for(("1", "Ready"), ("2", "Ready"))
        taken[0] = 200 * MIB
        held.want("demo", [version("1"), version("2")])
        assert told.states() == [("1", "Ready"), ("2", "NoRoom")]
        assert held.take(version("2")) is None


def test_one_that_did_not_fit_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("windtunnel.serving.warm._ROOM", 0.01)
    taken = [200 * MIB]
    told = Told()
    with warm(Loading(), told, Room(512 * MIB, 256 * MIB, lambda _: 0, lambda: taken[0])) as held:
        held.want("demo", [version("1")])
        told.wait_for(("1", "NoRoom"))
        taken[0] = 100 * MIB
        told.wait_for(("1", "Ready"))


def test_nothing_is_loaded_before_anything_is_wanted() -> None:
    load = Loading()
    with warm(load, Told()):
        time.sleep(0.05)
    assert load.asked == []


def test_without_a_limit_there_is_always_room() -> None:
    def unknown(_: ModelVersion) -> int:
        raise AssertionError("no need to know")

    room = Room(None, 1 << 40, unknown)
    assert (room.refusal(version("1")), room.is_overdrawn()) == ("", False)

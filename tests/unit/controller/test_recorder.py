"""The recorder: what it says, when it tries again, and that it never lets anything through."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from faulty_store import FaultyStore
from memory_models import version

from windtunnel.controller.recorder import (
    ALIAS_SECONDS,
    FIRST_RETRY_SECONDS,
    IDLE_SECONDS,
    LAST_RETRY_SECONDS,
    Recorder,
)
from windtunnel.errors import NotFoundError, PermanentError, StoreError, WindtunnelError
from windtunnel.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Callable


class Aliases:
    def __init__(self) -> None:
        self.version: str | None = None
        self.asked = 0
        self.broken: Exception | None = None

    def champion_version(self, name: str) -> str | None:
        self.asked += 1
        if self.broken:
            raise self.broken
        return self.version

    def set_champion(self, name: str, version: str) -> None:
        self.version = version


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def served(count: int, recorded: int = 0, first: int = 1) -> dict[str, Any]:
    """A ServedModel to which versions were promoted, as the watch gives it."""
    history = [
        {
            "number": number,
            "action": "promotion",
            **version(number).model_dump(),
            "at": f"2026-01-01T00:{number:02d}:00Z",
        }
        for number in range(first, count + 1)
    ]
    spec = {"lifecycle": "demo", "champion": version(count).model_dump(), "history": history}
    return {"metadata": {"name": "demo"}, "spec": spec, "status": {"recorded": recorded}}


@pytest.fixture
def store() -> FaultyStore:
    return FaultyStore()


@pytest.fixture
def aliases() -> Aliases:
    return Aliases()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def recorder(store: FaultyStore, aliases: Aliases, clock: Clock) -> Recorder:
    return Recorder(store, aliases, clock)


def said(recorder: Recorder) -> tuple[str, str]:
    assert recorder.view is not None
    return recorder.view.status, recorder.view.reason


def versions(store: FaultyStore) -> list[str]:
    return [entry["version"] for entry in Ledger(store, "demo").entries()]


def test_acts_get_into_the_ledger_and_the_alias_follows(
    recorder: Recorder, store: FaultyStore, aliases: Aliases
) -> None:
    assert recorder.look(served(3)) == IDLE_SECONDS
    assert (versions(store), aliases.version, recorder.recorded) == (["1", "2", "3"], "3", 3)
    assert said(recorder) == ("True", "Recorded")
    store.calls.clear()
    # the watch is late and has not seen what was written
    assert recorder.look(served(3)) == IDLE_SECONDS
    assert (store.calls, aliases.asked) == ({}, 1)
    recorder.look(served(4, recorded=3))
    assert (versions(store), aliases.version) == (["1", "2", "3", "4"], "4")


def test_another_controller_goes_on_from_the_status(store: FaultyStore) -> None:
    Recorder(store, None).look(served(3))
    later = Recorder(store, None)
    later.look(served(5, recorded=3))
    assert (versions(store), later.recorded) == (["1", "2", "3", "4", "5"], 5)


def test_a_store_that_is_away_is_asked_less_and_less_and_nothing_is_lost(
    recorder: Recorder, store: FaultyStore, aliases: Aliases
) -> None:
    store.away = True
    pauses = [recorder.look(served(number)) for number in range(1, 9)]
    assert pauses[0] == FIRST_RETRY_SECONDS
    assert pauses == sorted(pauses)
    assert pauses[-1] == LAST_RETRY_SECONDS
    assert said(recorder) == ("False", "LedgerAway")
    assert recorder.view is not None
    assert recorder.view.message.startswith("8 acts wait: ")
    store.away = False
    assert recorder.look(served(8)) == IDLE_SECONDS
    assert (versions(store), said(recorder)) == ([str(n) for n in range(1, 9)], ("True", "Recorded"))
    store.away = True
    assert recorder.look(served(9)) == FIRST_RETRY_SECONDS


def test_what_the_ledger_does_not_have_is_not_called_recorded(recorder: Recorder, store: FaultyStore) -> None:
    store.faults = iter([None, "after"])
    recorder.look(served(3))
    assert recorder.recorded == 0
    recorder.look(served(3))
    assert (recorder.recorded, versions(store)) == (3, ["1", "2", "3"])


@pytest.mark.parametrize(
    ("error", "expected", "again"),
    [
        (lambda: StoreError("away"), ("False", "AliasAway"), True),
        (lambda: PermanentError("refused"), ("False", "AliasRefused"), True),
        (lambda: NotFoundError("no such version"), ("True", "NoAlias"), False),
        (lambda: ValueError("odd"), ("False", "AliasFailed"), True),
    ],
)
def test_mlflow_is_no_reason_to_keep_the_ledger_waiting(
    recorder: Recorder,
    store: FaultyStore,
    aliases: Aliases,
    error: Callable[[], WindtunnelError],
    expected: tuple[str, str],
    again: bool,
) -> None:
    aliases.broken = error()
    pause = recorder.look(served(1))
    assert (versions(store), recorder.recorded) == (["1"], 1)
    assert said(recorder) == expected
    assert pause == (FIRST_RETRY_SECONDS if again else IDLE_SECONDS)
    aliases.broken = None
    recorder.look(served(2, recorded=1))
    assert (said(recorder), aliases.version) == (("True", "Recorded"), "2")


def test_an_alias_that_somebody_moved_comes_back(recorder: Recorder, aliases: Aliases, clock: Clock) -> None:
    recorder.look(served(2))
    aliases.version = "1"
    recorder.look(served(2, recorded=2))
    assert aliases.version == "1"
    clock.now += ALIAS_SECONDS
    recorder.look(served(2, recorded=2))
    assert aliases.version == "2"


def test_a_store_that_refuses_says_so(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermanentError("the object store refused: no such key id")

    monkeypatch.setattr(FaultyStore, "list", refuse)
    assert recorder.look(served(1)) == FIRST_RETRY_SECONDS
    assert said(recorder) == ("False", "LedgerRefused")


def test_a_fault_of_our_own_ends_no_loop(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("unexpected")

    monkeypatch.setattr(FaultyStore, "list", fail)
    assert recorder.look(served(1)) == FIRST_RETRY_SECONDS
    assert said(recorder) == ("False", "LedgerFailed")
    monkeypatch.undo()
    assert recorder.look(served(1)) == IDLE_SECONDS


def test_a_spec_that_makes_no_sense_is_the_keepers_to_report(recorder: Recorder) -> None:
    assert recorder.look({"metadata": {"name": "demo"}, "spec": None}) == IDLE_SECONDS
    assert recorder.view is None


def test_a_ledger_that_was_emptied_is_begun_anew(recorder: Recorder, store: FaultyStore) -> None:
    recorder.look(served(2))
    for entry in store.list("demo/ledger"):
        store.delete(entry.key)
    assert recorder.look(served(3, recorded=2)) == FIRST_RETRY_SECONDS
    assert recorder.look(served(3, recorded=2)) == IDLE_SECONDS
    assert versions(store) == ["3"]
    assert Ledger(store, "demo").verify() == 1

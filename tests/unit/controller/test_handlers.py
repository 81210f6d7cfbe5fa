"""Which ServedModels are kept, as events come and as some are missed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import kopf
import pytest
from waiting import HANG

from windtunnel.controller.handlers import register

Handler = Callable[..., Awaitable[None]]


class Rounds:
    """A keeper that only notes whom it keeps."""

    def __init__(self, kept: list[str]) -> None:
        self._kept = kept
        self.beside = {"guard": self}
        self.latest: Mapping[str, Any] | None = None

    def look(self, value: Mapping[str, Any]) -> float:
        self._kept.append(f"guard of {value['metadata']['uid']}")
        return 0.01

    def round(self, value: Mapping[str, Any]) -> float:
        self._kept.append(value["metadata"]["uid"])
        return 0.01


@pytest.fixture
def kept() -> list[str]:
    return []


@pytest.fixture
def handlers(kept: list[str], monkeypatch: pytest.MonkeyPatch) -> dict[str, Handler]:
    """The functions that kopf is given, by what they are for."""
    found: dict[str, Handler] = {}

    def takes(purpose: str) -> Callable[..., Callable[[Handler], Handler]]:
        return lambda *_, **__: lambda handler: found.setdefault(purpose, handler)

    for purpose in ("startup", "login", "event", "cleanup"):
        monkeypatch.setattr(kopf.on, purpose, takes(purpose))
    register(kopf.OperatorRegistry(), lambda: Rounds(kept))  # type: ignore[arg-type,return-value]
    return found


def event(kind: str | None, uid: str) -> dict[str, Any]:
    return {"type": kind, "object": {"metadata": {"name": "flight-delay", "uid": uid, "generation": 1}}}


async def until(true: Callable[[], bool]) -> None:
    """Returns when that is true."""
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.005)


def kept_after(handlers: dict[str, Handler], kept: list[str], *events: dict[str, Any]) -> set[str]:
    """The uids that are kept once these events have come."""

    async def run() -> set[str]:
        for one in events:
            await handlers["event"](event=one)
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.05)
        kept.clear()
        await asyncio.sleep(0.1)
        seen = set(kept)
        await handlers["cleanup"]()
        return seen

    return asyncio.run(run())


def test_a_served_model_is_kept_until_it_is_deleted(handlers: dict[str, Handler], kept: list[str]) -> None:
    assert kept_after(handlers, kept, event(None, "a")) == {"a", "guard of a"}
    assert kept_after(handlers, kept, event("ADDED", "a"), event("DELETED", "a")) == set()


def test_one_whose_end_was_missed_makes_way_for_the_next_of_its_name(
    handlers: dict[str, Handler], kept: list[str]
) -> None:
    assert kept_after(handlers, kept, event("ADDED", "a"), event(None, "b")) == {"b", "guard of b"}


def test_the_late_end_of_an_earlier_one_does_not_end_the_next(
    handlers: dict[str, Handler], kept: list[str]
) -> None:
    assert kept_after(handlers, kept, event("ADDED", "b"), event("DELETED", "a")) == {"b", "guard of b"}


def test_a_round_that_hangs_does_not_hold_up_the_guard(
    handlers: dict[str, Handler], kept: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    released = threading.Event()

    def hang(self: Rounds, value: Mapping[str, Any]) -> float:
        released.wait(HANG)
        return 0.01

    monkeypatch.setattr(Rounds, "round", hang)

    async def run() -> None:
        for number in range(40):  # more than the event loop has threads of its own
            one = event("ADDED", f"uid-{number}")
            one["object"]["metadata"]["name"] = f"model-{number}"
            await handlers["event"](event=one)
        try:
            for _ in range(2):  # looks follow one another
                kept.clear()
                await asyncio.wait_for(all_are_looked_at(), HANG / 2)
        finally:
            released.set()
            await handlers["cleanup"]()

    async def all_are_looked_at() -> None:
        while len(set(kept)) < 40:
            await asyncio.sleep(0.01)

    asyncio.run(run())


def test_a_changed_spec_is_looked_at_at_once(
    handlers: dict[str, Handler], kept: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def look(self: Rounds, value: Mapping[str, Any]) -> float:
        seen.append(value["metadata"]["generation"])
        return 60.0

    monkeypatch.setattr(Rounds, "look", look)

    async def run() -> None:
        await handlers["event"](event=event("ADDED", "a"))
        await asyncio.sleep(0.05)
        await handlers["event"](event=event("MODIFIED", "a"))  # a write of the status alone
        await asyncio.sleep(0.05)
        changed = event("MODIFIED", "a")
        changed["object"]["metadata"]["generation"] = 2
        await handlers["event"](event=changed)
        await asyncio.sleep(0.05)
        await handlers["cleanup"]()

    asyncio.run(run())
    assert seen == [1, 2]


def test_what_the_keeper_has_read_is_news_while_the_watch_is_silent(
    handlers: dict[str, Handler], kept: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def look(self: Rounds, value: Mapping[str, Any]) -> float:
        seen.append(value["metadata"]["generation"])
        return 60.0

    def read(self: Rounds, value: Mapping[str, Any]) -> float:
        self.latest = event("MODIFIED", "a")["object"]
        self.latest["metadata"] |= {"generation": 3, "resourceVersion": "12"}
        return 60.0

    monkeypatch.setattr(Rounds, "look", look)
    monkeypatch.setattr(Rounds, "round", read)

    async def run() -> None:
        await handlers["event"](event=event("ADDED", "a"))
        await until(lambda: 3 in seen)
        late = event("MODIFIED", "a")
        late["object"]["metadata"]["generation"] = 2
        await handlers["event"](event=late)  # what the watch tells late is older
        await asyncio.sleep(0.05)
        await handlers["cleanup"]()

    asyncio.run(run())
    assert [generation for generation in seen if generation != 1] == [3]


def test_an_annotation_is_looked_at_at_once(
    handlers: dict[str, Handler], kept: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rollback by kubectl is one."""
    seen: list[Any] = []

    def look(self: Rounds, value: Mapping[str, Any]) -> float:
        seen.append(value["metadata"].get("annotations"))
        return 60.0

    monkeypatch.setattr(Rounds, "look", look)

    async def run() -> None:
        await handlers["event"](event=event("ADDED", "a"))
        await until(lambda: len(seen) == 1)
        asked = event("MODIFIED", "a")
        asked["object"]["metadata"]["annotations"] = {"windtunnel.dev/rollback": "previous"}
        await handlers["event"](event=asked)
        await until(lambda: len(seen) == 2)
        await handlers["cleanup"]()

    asyncio.run(run())
    assert seen == [None, {"windtunnel.dev/rollback": "previous"}]

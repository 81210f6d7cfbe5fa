"""Glue to kopf: it watches ServedModels, and each gets a task that keeps it and one that guards it.

A watch can fall silent without ending (an API server that went without a word costs 75 s). The keeper reads
the ServedModel in each of its rounds anyway, and what is newer there counts as told.

Only kopf's low-level events are used: they write nothing to the object, in particular no finalizer, so that a
ServedModel can be deleted while no controller runs.
"""

from __future__ import annotations

import asyncio
import contextlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import kopf

from windtunnel.spec.servedmodel import GROUP, PLURAL, VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from concurrent.futures import Executor

    from windtunnel.controller.keeper import Keeper


class _Kept:
    """One ServedModel and the tasks that keep and guard it."""

    def __init__(self, value: Mapping[str, Any], keeper: Keeper, threads: Mapping[str, Executor]) -> None:
        self.uid = value["metadata"]["uid"]
        self._keeper = keeper
        self._value = value
        self._changed: list[asyncio.Event] = []
        # by threads of their own: rounds that wait for an API server that is away must not hold up guards
        self._tasks = [
            asyncio.create_task(self._repeat(keeper.round, threads["keeper"])),
            *(
                asyncio.create_task(self._repeat(one.look, threads[name]))
                for name, one in keeper.beside.items()
            ),
        ]

    def update(self, value: Mapping[str, Any]) -> None:
        """Take what the watch or the keeper has seen, unless something newer is known."""
        known, new = self._value["metadata"], value["metadata"]
        if _is_older(new, known):
            return
        # our own status writes come back as events, too: they are no reason to hurry
        is_new = any(new.get(part) != known.get(part) for part in ("generation", "annotations"))
        self._value = value
        for changed in self._changed if is_new else ():
            changed.set()

    def end(self) -> None:
        for task in self._tasks:
            task.cancel()

    async def _repeat(self, what: Callable[[Mapping[str, Any]], float], threads: Executor) -> None:
        """Do it again after as many seconds as it says, or at once when the ServedModel changes."""
        loop, changed = asyncio.get_running_loop(), asyncio.Event()
        self._changed.append(changed)
        while True:
            changed.clear()
            pause = await loop.run_in_executor(threads, what, self._value)
            if self._keeper.latest is not None:
                self.update(self._keeper.latest)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(changed.wait(), pause)


def _is_older(metadata: Mapping[str, Any], than: Mapping[str, Any]) -> bool:
    """Whether these are the metadata of an earlier state of the same object."""
    ours, theirs = (
        (one.get("generation") or 0, _number(one.get("resourceVersion"))) for one in (metadata, than)
    )
    return ours < theirs


def _number(resource_version: str | None) -> int:
    """Kubernetes promises since 1.35 that they are whole numbers that grow; 0 for what is none."""
    return int(resource_version) if resource_version and resource_version.isdigit() else 0


class _AllKept:
    """One task for each name: two would fight over the same objects."""

    def __init__(self, make_keeper: Callable[[], Keeper]) -> None:
        self._make_keeper = make_keeper
        self._threads = _Threads()
        self._by_name: dict[str, _Kept] = {}

    def changed(self, kind: str | None, value: dict[str, Any]) -> None:
        name, uid = value["metadata"]["name"], value["metadata"]["uid"]
        known = self._by_name.get(name)
        is_same = known is not None and known.uid == uid
        if kind == "DELETED":
            if known and is_same:
                self._by_name.pop(name).end()
        elif known and is_same:
            known.update(value)
        else:
            if known:  # its end was missed while the watch was away
                known.end()
            self._by_name[name] = _Kept(value, self._make_keeper(), self._threads)

    def end(self) -> None:
        for one in self._by_name.values():
            one.end()
        for threads in self._threads.values():
            threads.shutdown(wait=False, cancel_futures=True)


class _Threads(dict[str, "Executor"]):
    """Threads by what they do; made when they are asked for."""

    def __missing__(self, name: str) -> Executor:
        made = self[name] = ThreadPoolExecutor(max_workers=16, thread_name_prefix=name)
        return made


def register(registry: kopf.OperatorRegistry, make_keeper: Callable[[], Keeper]) -> None:
    """Let the registry's operator keep every ServedModel that it sees."""
    kept = _AllKept(make_keeper)

    async def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
        settings.posting.enabled = False
        settings.scanning.disabled = True
        settings.networking.request_timeout = 30
        # what ends a silent watch after the API server has gone without a word
        settings.watching.server_timeout = 60
        settings.watching.client_timeout = 75

    async def log_in(**kwargs: Any) -> kopf.ConnectionInfo | None:
        return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)

    async def changed(event: kopf.RawEvent, **_: Any) -> None:
        kept.changed(event["type"], dict(event["object"]))

    async def end(**_: Any) -> None:
        kept.end()

    kopf.on.startup(registry=registry)(configure)
    kopf.on.login(registry=registry)(log_in)
    kopf.on.event(GROUP, VERSION, PLURAL, registry=registry)(changed)
    kopf.on.cleanup(registry=registry)(end)

"""Keeps the challenger's process: starts it, starts it again when it died, and gives up on one that dies and
dies (quarantine)."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from windtunnel.errors import PermanentError, TemporaryError, WindtunnelError, from_json
from windtunnel.serving import challenger_link, frames

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from windtunnel.serving.challenger_link import ChallengerLink
    from windtunnel.serving.model import VersionInterface
    from windtunnel.spec.servedmodel import ModelVersion

log = logging.getLogger(__name__)

State = Literal["Loading", "Ready", "Quarantined", "Rejected"]
STATES: Final[tuple[State, ...]] = ("Loading", "Ready", "Quarantined", "Rejected")

DEATHS: Final = 3
DEATHS_WITHIN: Final = 60.0
"""So many deaths within so many seconds are a quarantine."""
_LOAD_SECONDS: Final = 120.0
"""A process that has not loaded by then counts as hung."""
_RESTART: Final = (0.1, 1.0)
"""Seconds before a dead process is started again, by deaths."""
_RETRY: Final = (0.5, 1.0, 2.0, 5.0, 15.0)
"""Seconds before a load is tried again after a temporary error, by failures in a row."""


class Listener(Protocol):
    """Who wants to know how the process is; called on the event loop."""

    def up(self, interface: VersionInterface, link: ChallengerLink) -> None:
        """It answers from now on."""

    def down(self) -> None:
        """It died."""

    def restarted(self) -> None:
        """It died, and is started again."""

    def became(self, state: State, message: str) -> None:
        """What is known of it now."""


class _DiedError(Exception):
    """The process is no more, or as good as."""


class ChallengerKeeper:
    """Keeps one process at a time; on the event loop only."""

    def __init__(
        self,
        command: Callable[[str, ModelVersion], Sequence[str]],
        interface: Callable[[str, ModelVersion, dict[str, Any]], VersionInterface],
        listener: Listener,
    ) -> None:
        self._command = command
        self._interface = interface
        self._listener = listener
        self._task: asyncio.Task[None] | None = None
        self._ending: set[asyncio.Task[None]] = set()
        """Told to end: each once, so that none is torn from who still waits for its answer."""
        self._last = ""
        """Digest of the version that was wanted last; its deaths are held against it until another is."""
        self._deaths: deque[float] = deque(maxlen=DEATHS)
        self._verdict = ""

    def keep(self, lifecycle: str, wanted: ModelVersion) -> None:
        """Keep a process of that version from now on, and none of another."""
        if wanted.digest != self._last:
            self._last, self._verdict = wanted.digest, ""
            self._deaths.clear()
        self.drop()
        if self._verdict:
            self._listener.became("Quarantined", self._verdict)
        else:
            self._task = asyncio.create_task(self._keep(lifecycle, wanted, frozenset(self._ending)))

    def drop(self) -> None:
        """Keep none."""
        if self._task is not None:
            self._task.cancel()
            self._ending.add(self._task)
            self._task.add_done_callback(self._ending.discard)
            self._task = None

    async def stop(self) -> None:
        """Keep none; returns when the process has ended."""
        self.drop()
        if self._ending:
            await asyncio.wait(frozenset(self._ending))

    async def _keep(
        self, lifecycle: str, wanted: ModelVersion, before: frozenset[asyncio.Task[None]]
    ) -> None:
        if before:
            # two challengers at a time would be one too many for the pod's memory
            await asyncio.wait(before)
        failures = 0
        self._listener.became("Loading", "")
        while True:
            try:
                await self._run(lifecycle, wanted)
            except TemporaryError as error:
                self._listener.became("Loading", str(error))
                await asyncio.sleep(_RETRY[min(failures, len(_RETRY) - 1)])
                failures += 1
            except WindtunnelError as error:
                log.error("challenger %s is rejected: %s", wanted.version, error)
                self._listener.became("Rejected", str(error))
                return
            except (_DiedError, OSError) as error:
                failures = 0
                self._listener.down()
                if self._has_died(wanted.version, str(error)):
                    return
                self._listener.became("Loading", f"it died and is started again: {error}")
                await asyncio.sleep(_RESTART[min(len(self._deaths), len(_RESTART)) - 1])
                self._listener.restarted()

    def _has_died(self, version: str, why: str) -> bool:
        """Whether that was once too often."""
        now = time.monotonic()
        self._deaths.append(now)
        if len(self._deaths) < DEATHS or now - self._deaths[0] > DEATHS_WITHIN:
            log.warning("challenger %s died: %s", version, why)
            return False
        self._verdict = f"it died {DEATHS} times within {now - self._deaths[0]:.0f} s, at last: {why}"
        log.error("challenger %s is quarantined: %s", version, self._verdict)
        self._listener.became("Quarantined", self._verdict)
        return True

    async def _run(self, lifecycle: str, wanted: ModelVersion) -> None:
        """One life of the process. Raises _DiedError, OSError, or why it cannot load."""
        started = time.monotonic()
        link = await challenger_link.start(self._command(lifecycle, wanted))
        try:
            interface = await self._greet(link, lifecycle, wanted)
            if interface is not None:
                log.info("challenger %s loaded in %.2f s", wanted.version, time.monotonic() - started)
                self._listener.up(interface, link)
                self._listener.became("Ready", "")
                await asyncio.wait({link.ended})
            code = await link.reap()
            why = link.reason or _by(code)
        finally:
            await link.finish()
            await link.reap()
        raise _DiedError(why)

    async def _greet(
        self, link: ChallengerLink, lifecycle: str, wanted: ModelVersion
    ) -> VersionInterface | None:
        """How to ask it; None when it died instead. Raises why it cannot load."""
        done, _ = await asyncio.wait({link.greeting}, timeout=_LOAD_SECONDS)
        if not done:
            link.end(f"it did not load within {_LOAD_SECONDS:.0f} s")
        if link.greeting.cancelled() or not done:
            return None
        kind, payload = link.greeting.result()
        try:
            said = json.loads(payload)
            if kind == frames.FAILED:
                raise from_json(said)
            return self._interface(lifecycle, wanted, said)
        except WindtunnelError:
            raise
        except Exception as error:  # whatever strange content leads to
            raise PermanentError(
                f"its greeting is garbage: {type(error).__name__}: {error}",
                where=f"challenger {wanted.version}",
            ) from error


def _by(code: int) -> str:
    return f"killed by signal {-code}" if code < 0 else f"exit code {code}"

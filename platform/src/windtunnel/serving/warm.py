"""Former champions that stay loaded, so that a rollback is one assignment.

The version that leaves the champion's seat stays as it is. After a restart the others are loaded in the
background, by a thread of low priority and one at a time: never before there is a champion, and whatever
becomes of it is no reason to be less ready. What does not fit into the container's memory is left out.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from windtunnel.errors import TemporaryError, WindtunnelError
from windtunnel.serving.memory import MIB

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from windtunnel.serving.memory import Room
    from windtunnel.serving.metrics import Metrics
    from windtunnel.serving.model import LoadedVersion, VersionInterface
    from windtunnel.serving.updater import Loader
    from windtunnel.spec.servedmodel import ModelVersion

log = logging.getLogger(__name__)

State = Literal["Loading", "Ready", "Failed", "NoRoom"]

_PAUSE: Final = 1.0
"""Seconds before a load: requests that waited for the champion come first."""
_RETRY: Final = (1.0, 5.0, 15.0, 60.0)
"""Seconds before a load is tried again after a temporary error, by failures."""
_ROOM: Final = 600.0
"""Seconds before one that did not fit in is tried again."""
_NICENESS: Final = 10


@dataclass(eq=False)
class _Place:
    """One version that is wanted warm."""

    wanted: ModelVersion
    due: float
    state: State = "Loading"
    message: str = ""
    loaded: LoadedVersion | None = None
    failures: int = 0

    def describe(self) -> dict[str, Any]:
        return {
            "version": self.wanted.version,
            "digest": self.wanted.digest,
            "state": self.state,
            "message": self.message,
            "mib": round(self.loaded.memory_bytes / MIB, 1) if self.loaded else None,
        }


class WarmVersions:
    """Any thread may call; `publish` is told what is held whenever that changes, in the order of places."""

    def __init__(
        self,
        load: Loader,
        room: Room,
        metrics: Metrics,
        publish: Callable[[tuple[dict[str, Any], ...]], Any],
        pause: float = _PAUSE,
    ) -> None:
        self._load = load
        self._room = room
        self._metrics = metrics
        self._publish = publish
        self._pause = pause
        self._changed = threading.Condition()
        self._places: list[_Place] = []
        self._lifecycle = ""
        self._stopped = False

    def take(self, wanted: ModelVersion) -> LoadedVersion | None:
        """The version, if it is held."""
        with self._changed:
            return next((place.loaded for place in self._places if _is(place, wanted)), None)

    def want(self, lifecycle: str, wanted: Sequence[ModelVersion], left: LoadedVersion | None = None) -> None:
        """Hold these from now on, most wanted first, and no others; `left` has just lost the champion's
        seat."""
        with self._changed:
            before, self._lifecycle = self._places, lifecycle
            due = time.monotonic() + self._pause
            self._places = [
                next((place for place in before if _is(place, version)), None) or _Place(version, due)
                for version in wanted
            ]
            for place in before:
                if place.loaded is not None and place not in self._places:
                    self._let_go(place)
            for place in self._places:
                if left is not None and place.loaded is None and _is_of(left, place.wanted):
                    self._hold(place, left)
            self._make_room()
            self._tell()
            self._changed.notify()

    def stop(self) -> None:
        """Let `run` return."""
        with self._changed:
            self._stopped = True
            self._changed.notify()

    def run(self) -> None:
        """Load what is wanted until stopped."""
        with contextlib.suppress(OSError):
            # On Linux a thread has a niceness of its own. Most of a load is the work of onnxruntime, which
            # holds no lock that the event loop could want.
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
        while (place := self._next()) is not None:
            self._try(place)

    def _next(self) -> _Place | None:
        """The place to fill next, when it is due; None at the end."""
        with self._changed:
            while not self._stopped:
                empty = [place for place in self._places if place.state in ("Loading", "NoRoom")]
                first = min(empty, key=lambda place: place.due, default=None)
                if first is not None and first.due <= time.monotonic():
                    return first
                self._changed.wait(None if first is None else first.due - time.monotonic())
            return None

    def _try(self, place: _Place) -> None:
        version, lifecycle, started = place.wanted, self._lifecycle, time.monotonic()
        try:
            refusal = self._room.refusal(version)
            loaded = None if refusal else self._load(lifecycle, version)
        except TemporaryError as error:
            self._count("TemporaryError")
            place.failures += 1
            self._became(place, "Loading", str(error), _RETRY[min(place.failures, len(_RETRY)) - 1])
            return
        except Exception as error:
            self._count(type(error).__name__)
            known = isinstance(error, WindtunnelError)
            log.warning("version %s is not kept warm: %s", version.version, error, exc_info=not known)
            self._became(place, "Failed", str(error))
            return
        if loaded is None:
            self._count("NoRoom")
            log.warning("version %s is not kept warm: %s", version.version, refusal)
            self._became(place, "NoRoom", refusal, _ROOM)
            return
        self._count("ok")
        log.info("version %s is warm, loaded in %.2f s", version.version, time.monotonic() - started)
        with self._changed:
            if place in self._places and place.loaded is None:
                self._hold(place, loaded)
                self._make_room()
                self._tell()

    def _became(self, place: _Place, state: State, message: str, again: float = 0.0) -> None:
        with self._changed:
            if place.loaded is None:  # it may have left the seat meanwhile
                place.state, place.message, place.due = state, message, time.monotonic() + again
                self._tell()

    def _hold(self, place: _Place, loaded: LoadedVersion) -> None:
        place.loaded, place.state, place.message = loaded, "Ready", ""
        self._metrics.holds(loaded, "warm")

    def _let_go(self, place: _Place) -> None:
        if place.loaded is not None:
            self._metrics.lets_go(place.loaded, "warm")
            place.loaded = None

    def _make_room(self) -> None:
        """Let the least wanted one go, if there is too little memory; one at a time, as its memory is free
        only when its last request has ended."""
        if not self._room.is_overdrawn():
            return
        for place in reversed(self._places):
            if place.loaded is not None:
                self._let_go(place)
                place.state, place.message = "NoRoom", "it was let go: the container's memory is short"
                place.due = time.monotonic() + _ROOM
                log.warning("version %s is not kept warm: %s", place.wanted.version, place.message)
                return

    def _count(self, outcome: str) -> None:
        self._metrics.warm_loads.labels(self._lifecycle, outcome).inc()

    def _tell(self) -> None:
        self._publish(tuple(place.describe() for place in self._places))


def _is(place: _Place, version: ModelVersion) -> bool:
    return (place.wanted.version, place.wanted.digest) == (version.version, version.digest)


def _is_of(loaded: VersionInterface, version: ModelVersion) -> bool:
    return (loaded.version, loaded.digest) == (version.version, version.digest)

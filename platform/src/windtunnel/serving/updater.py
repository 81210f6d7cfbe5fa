"""Brings what is served to what the ServedModel wants: load beside, then swap; keep the old when the new
fails."""

from __future__ import annotations

import logging
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

from pydantic import ValidationError

from windtunnel.errors import SpecError, TemporaryError, WindtunnelError
from windtunnel.rollout.history import former_champions
from windtunnel.serving.dataplane import Failure
from windtunnel.spec.servedmodel import ServedModel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from windtunnel.serving.dataplane import Dataplane
    from windtunnel.serving.metrics import Metrics
    from windtunnel.serving.model import LoadedVersion
    from windtunnel.serving.warm import WarmVersions
    from windtunnel.spec.servedmodel import ModelVersion

log = logging.getLogger(__name__)

_RETRY: Final = (0.5, 1.0, 2.0, 5.0, 15.0)
"""Seconds before a load is tried again after a temporary error, by failures in a row."""


class Loader(Protocol):
    """Makes a version ready to answer. Raises WindtunnelError."""

    def __call__(self, lifecycle: str, wanted: ModelVersion) -> LoadedVersion: ...


class Updater:
    """Loads in the thread that calls `run`, and swaps on the event loop by `on_loop`.

    What is held warm is swapped in without a load; what has left the seat is offered to be held.
    """

    def __init__(
        self,
        dataplane: Dataplane,
        load: Loader,
        warm: WarmVersions,
        metrics: Metrics,
        on_loop: Callable[[Callable[[], None]], Any],
    ) -> None:
        self._dataplane = dataplane
        self._load = load
        self._warm = warm
        self._champion: LoadedVersion | None = None
        """That the event loop was told to swap in last; it may not have come to it yet."""
        self._metrics = metrics
        self._on_loop = on_loop
        self._changed = threading.Condition()
        self._object: dict[str, Any] | None = None
        self._stopped = False

    def follow(self, objects: Iterable[dict[str, Any]]) -> None:
        """Want what comes, the latest only; returns when `objects` ends."""
        for value in objects:
            with self._changed:
                self._object = value
                self._changed.notify()

    def stop(self) -> None:
        """Let `run` return."""
        with self._changed:
            self._stopped = True
            self._changed.notify()

    def run(self) -> None:
        """Act on the latest object until stopped."""
        acted: dict[str, Any] | None = None
        failures = 0
        retry_at: float | None = None
        while True:
            with self._changed:
                timeout = None if retry_at is None else max(0.0, retry_at - time.monotonic())
                self._changed.wait_for(partial(self._has_news, acted), timeout)
                if self._stopped:
                    return
                value = self._object
            failures = failures if value is acted else 0
            acted = value
            retry_at = None
            if value is not None and not self._act(value):
                retry_at = time.monotonic() + _RETRY[min(failures, len(_RETRY) - 1)]
                failures += 1

    def _has_news(self, acted: dict[str, Any] | None) -> bool:
        return self._stopped or self._object is not acted

    def _act(self, value: dict[str, Any]) -> bool:
        """False when it is worth trying again."""
        try:
            model = ServedModel.model_validate(value)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            self._fail(None, "", SpecError(first["msg"], where=f"ServedModel {place}"))
            return True
        wanted = model.spec.champion
        self._dataplane.lifecycle = model.spec.lifecycle
        current = self._champion
        if current is not None and (current.version, current.digest) == (wanted.version, wanted.digest):
            self._settle(model, None)
            return True
        if (held := self._warm.take(wanted)) is not None:
            self._settle(model, held)
            log.info("serving %s version %s again, which was warm", model.spec.lifecycle, held.version)
            return True
        # What is about to be promoted goes on answering its share until it is loaded, and nothing comes
        # before the first champion; all else holds at once.
        if current is not None and not self._dataplane.challenger.is_wanted(wanted):
            self._on_loop(partial(self._dataplane.challenger.want, model.spec))
        started = time.monotonic()
        try:
            loaded = self._load(model.spec.lifecycle, wanted)
        except WindtunnelError as error:
            self._fail(model, wanted.version, error)
            return not isinstance(error, TemporaryError)
        except Exception as error:
            log.exception("cannot load version %s", wanted.version)
            self._fail(model, wanted.version, error)
            return True
        self._metrics.loads.labels(model.spec.lifecycle, "ok").inc()
        self._settle(model, loaded)
        log.info(
            "serving %s version %s (%s), loaded in %.2f s",
            model.spec.lifecycle,
            loaded.version,
            loaded.digest,
            time.monotonic() - started,
        )
        return True

    def _settle(self, model: ServedModel, loaded: LoadedVersion | None) -> None:
        """Let the event loop serve this (None: what serves), and hold what the ServedModel wants warm."""
        left, self._champion = self._champion, loaded or self._champion

        def settle() -> None:
            if loaded is not None:
                self._dataplane.swap(loaded)
            self._dataplane.challenger.want(model.spec)
            self._dataplane.log.sample(model.spec.prediction_log.sample)
            self._dataplane.failure = None
            self._dataplane.generation = model.metadata.generation

        self._on_loop(settle)
        former = former_champions(model)[: model.spec.keep_warm]
        self._warm.want(model.spec.lifecycle, former, left if loaded is not None else None)

    def _fail(self, model: ServedModel | None, version: str, error: Exception) -> None:
        kept = self._champion
        log.error(
            "cannot serve version %s: %s; %s",
            version or "?",
            error,
            f"version {kept.version} goes on" if kept else "nothing is served",
        )
        lifecycle = self._dataplane.lifecycle or ""
        self._metrics.loads.labels(lifecycle, type(error).__name__).inc()
        failure = Failure(version, type(error).__name__, str(error))

        def fail() -> None:
            self._dataplane.failure = failure
            if model is not None:
                self._dataplane.challenger.want(model.spec)
                self._dataplane.log.sample(model.spec.prediction_log.sample)
                self._dataplane.generation = model.metadata.generation

        self._on_loop(fail)

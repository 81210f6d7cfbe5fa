"""Looks at everything again and again, and holds the page that scrapes are answered with."""

from __future__ import annotations

import gzip
import logging
import re
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, Counter, disable_created_metrics, generate_latest
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from windtunnel.errors import WindtunnelError
from windtunnel.exporter.families import describe, served
from windtunnel.exporter.lifecycle_reader import LifecycleReader
from windtunnel.exporter.metrics import METRICS, Samples

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from windtunnel.objects import ObjectStore
    from windtunnel.spec.servedmodel import ServedModel

log = logging.getLogger(__name__)

_AT_ONCE: Final = 8
_SWITCH_SECONDS: Final = 0.0005
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,39}[a-z0-9]")
_OF_A_LIFECYCLE: Final = {"runs", "ledger", "measures", "freshness"}
_READ_FAILURES: Final = "windtunnel_exporter_read_failures_total"
_KINDS_OF_FAILURE: Final = (
    "lifecycles", "records", "ledger", "measures", "freshness", "totals", "served_models", "samples",
)  # fmt: skip


@dataclass(frozen=True)
class Page:
    """What /metrics answers; made once per look, so that a scrape costs nothing."""

    plain: bytes
    gzipped: bytes


class Refresher:
    """`refresh` and `finish` are for one thread; `page` and `alive_at` may be read by others at any time."""

    def __init__(
        self,
        store: ObjectStore,
        list_served: Callable[[Callable[[str], None]], dict[str, ServedModel]],
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self._list_served = list_served
        self._clock = clock
        self._now = now
        self._readers: dict[str, LifecycleReader] = {}
        self._served: dict[str, ServedModel] = {}
        self._refreshed: float | None = None
        """When every store last answered: seconds since the epoch."""
        self._seconds: float | None = None
        # one more series for each counter, that nobody reads
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._own = CollectorRegistry()
        ProcessCollector(registry=self._own)
        PlatformCollector(registry=self._own)
        self._failures = Counter(
            _READ_FAILURES.removesuffix("_total"),
            METRICS[_READ_FAILURES].help,
            METRICS[_READ_FAILURES].labels,
            registry=self._own,
        )
        for of in _KINDS_OF_FAILURE:
            self._failures.labels(of)  # there before the first one, or it would be no increase
        self.alive_at = clock()
        """When this last came a step further, by the clock."""
        self.page = self._render()

    def refresh(self) -> None:
        """Look at everything once. Never raises; what cannot be read keeps its last values."""
        began = self._clock()
        answered = [self._find_lifecycles(), self._read_served()]
        now = self._now()
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="lifecycle") as pool:
            answered += pool.map(lambda reader: self._look(reader, now), self._readers.values())
        self.alive_at = self._clock()
        self._seconds = self.alive_at - began
        if all(answered):
            self._refreshed = self._now().timestamp()
        self.page = self._render()

    def finish(self) -> None:
        """Keep the totals, so that the next exporter need not count again what this one has."""
        for reader in self._readers.values():
            reader.keep(self._clock(), anyway=True)

    def run(self, interval: float, stop: threading.Event) -> None:
        """Look every `interval` seconds until `stop`; after a look that took longer, soon."""
        # A scrape needs the interpreter a dozen times, and waits so long for each thread that has it.
        sys.setswitchinterval(_SWITCH_SECONDS)
        while not stop.is_set():
            began = self._clock()
            self.refresh()
            stop.wait(max(1.0, interval - (self._clock() - began)))
        self.finish()

    def _look(self, reader: LifecycleReader, now: datetime) -> bool:
        answered = reader.look(now)
        reader.keep(self._clock())
        self.alive_at = self._clock()
        return answered

    def _find_lifecycles(self) -> bool:
        try:
            folders = {name for name in self._store.folders() if _NAME.fullmatch(name)}
            new = [
                name
                for name in sorted(folders - self._readers.keys())
                if _OF_A_LIFECYCLE & set(self._store.folders(name))
            ]
        except Exception as error:
            self._failed("lifecycles", error)
            return False
        for name in self._readers.keys() - folders:
            del self._readers[name]
        for name in new:
            self._readers[name] = LifecycleReader(self._store, name, self._fail)
        return True

    def _read_served(self) -> bool:
        try:
            self._served = self._list_served(self._fail)
        except Exception as error:
            self._failed("served_models", error)
            return False
        return True

    def _failed(self, of: str, error: Exception) -> None:
        # What is not expected is told with where it came from.
        log.warning("%s: %s", of, error, exc_info=not isinstance(error, WindtunnelError))
        self._fail(of)

    def _fail(self, of: str) -> None:
        self._failures.labels(of).inc()

    def _samples(self) -> Samples:
        samples = Samples()
        for reader in self._readers.values():
            self._described(partial(describe, reader.state, samples))
        for model in self._served.values():
            self._described(partial(served, model, samples))
        waiting = sum(reader.state.waiting for reader in self._readers.values())
        samples.add("windtunnel_exporter_lifecycles", len(self._readers))
        samples.add("windtunnel_exporter_waiting_records", waiting)
        samples.add("windtunnel_exporter_refresh_seconds", self._seconds)
        samples.add("windtunnel_exporter_last_refresh_timestamp_seconds", self._refreshed)
        return samples

    def _described(self, describe_one: Callable[[], None]) -> None:
        try:
            describe_one()
        except Exception as error:  # one lifecycle's oddity must not cost the others their metrics
            self._failed("samples", error)

    def _render(self) -> Page:
        plain = self._samples().text() + generate_latest(self._own)
        return Page(plain, gzip.compress(plain, compresslevel=1))

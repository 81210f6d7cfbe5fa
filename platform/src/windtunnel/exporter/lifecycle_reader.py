"""Reads what is new of one lifecycle, and keeps what the metrics need of it."""

from __future__ import annotations

import json
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from windtunnel.errors import IntegrityError, NotFoundError, TemporaryError, WindtunnelError
from windtunnel.exporter.checkpoints import read_totals, write_totals
from windtunnel.exporter.run_listing import RunListing
from windtunnel.exporter.totals import Totals
from windtunnel.features.freshness import ViewFreshness, freshness_folder
from windtunnel.ledger import Ledger
from windtunnel.monitoring.measures import measures_folder, read_measure

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from windtunnel.monitoring.measures import Measure
    from windtunnel.objects import Entry, ObjectStore

log = logging.getLogger(__name__)

MOST_AT_ONCE: Final = 2_000
"""Records that one look reads; a long history is caught up with in several."""
KEEP_EVERY_SECONDS: Final = 300.0
"""Between two writes of the totals, while they change."""
_READ_AT_ONCE: Final = 8
_MOST_VIEWS: Final = 100
_STAMP_END: Final = "Z-"
_ODD: Final = (AttributeError, KeyError, TypeError, ValueError)
"""What comes of content that has another shape than was written."""


@dataclass
class LifecycleState:
    """All that is shown of a lifecycle, but for what serves."""

    name: str
    totals: Totals = field(default_factory=Totals)
    waiting: int = 0
    """Records that are still to be read."""
    complete: bool = False
    """Whether all were read once: until then the totals are not shown, because they would seem to grow."""
    measure: Measure | None = None
    """The newest of a champion."""
    freshness: dict[str, ViewFreshness] = field(default_factory=dict)
    """By view."""


class LifecycleReader:
    """`look` is for one thread at a time. `fail(of)` is told of everything that cannot be read."""

    def __init__(self, store: ObjectStore, lifecycle: str, fail: Callable[[str], None]) -> None:
        self.state = LifecycleState(lifecycle)
        self._store = store
        self._fail = fail
        self._runs = RunListing(store, lifecycle)
        self._ledger = Ledger(store, lifecycle)
        self._ready = False
        self._kept_at: float | None = None
        self._changed = False
        self._measure_from = ""
        self._passed_over: set[str] = set()
        """Keys of measures that are not to be shown."""
        self._views: dict[str, tuple[datetime, str]] = {}

    def look(self, now: datetime) -> bool:
        """Read what is new; whether the store answered. What is odd in it is told of, and is an answer. Never
        raises.
        """
        parts = {
            "records": lambda: self._read_records(now),
            "ledger": self._read_ledger,
            "measures": self._read_measure,
            "freshness": self._read_freshness,
        }
        errors = [self._tried(of, read) for of, read in parts.items()]
        return not any(isinstance(error, TemporaryError) for error in errors)

    def keep(self, at: float, *, anyway: bool = False) -> None:
        """Write the totals if they changed, and if it was long ago; `at` in seconds of any clock."""
        due = anyway or self._kept_at is None or at - self._kept_at >= KEEP_EVERY_SECONDS
        if self._changed and due and self._tried("totals", self._keep) is None:
            self._kept_at, self._changed = at, False

    def _keep(self) -> None:
        write_totals(self._store, self.state.name, self.state.totals)

    def _tried(self, of: str, read: Callable[[], None]) -> Exception | None:
        try:
            read()
        except Exception as error:
            # One lifecycle's oddity must not keep the others from being seen.
            unexpected = not isinstance(error, WindtunnelError)
            log.warning("%s: %s: %s", self.state.name, of, error, exc_info=unexpected)
            self._fail(of)
            return error
        return None

    def _read_records(self, now: datetime) -> None:
        if not self._ready:
            self.state.totals = read_totals(self._store, self.state.name)
            self._ready = True
        totals = self.state.totals
        due, self.state.waiting = self._runs.look(now, totals.is_new, MOST_AT_ONCE)
        later = self.state.waiting - len(due)
        self._changed = self._changed or bool(due)
        # In order: what is counted up to is a moment, and an error ends the counting there.
        with ThreadPoolExecutor(_READ_AT_ONCE, thread_name_prefix="records") as pool:
            for entry, record in zip(due, pool.map(self._record, due), strict=True):
                self._count(entry, record)
        self.state.waiting = later
        self.state.complete = self.state.complete or not later
        if later:
            self._runs.again()

    def _record(self, entry: Entry) -> dict[str, Any] | None:
        try:
            record = json.loads(self._store.get(entry.key))
        except NotFoundError:
            return None  # swept meanwhile
        except ValueError:
            record = None
        return record if isinstance(record, dict) else {}

    def _count(self, entry: Entry, record: dict[str, Any] | None) -> None:
        try:
            self.state.totals.count(entry, record)
        except _ODD as error:
            log.warning("%s: this is no stage record: %s", entry.key, _said(error))
            self._fail("records")

    def _read_ledger(self) -> None:
        if not self._ready:
            return  # the totals say where to go on
        for number, data in self._ledger.after(self.state.totals.ledger_number):
            self._changed = True
            try:
                self.state.totals.enter(number, data)
            except _ODD as error:
                log.warning("%s: entry %d of the ledger: %s", self.state.name, number, _said(error))
                self._fail("ledger")

    def _read_measure(self) -> None:
        folder = measures_folder(self.state.name)
        listed = self._store.list(folder, after=self._measure_from)
        keys = [e for e in listed if e.key.endswith(".json") and e.key not in self._passed_over]
        if not keys:
            return
        # Of those whose windows end last, the one that was made last.
        newest = max(keys, key=lambda entry: (_end_of(entry.key), entry.modified))
        if self.state.measure is None or not newest.key.endswith(f"/{self.state.measure.name}.json"):
            # After one that is passed over the next look takes the one before.
            try:
                found = read_measure(self._store, newest.key)
            except NotFoundError:
                return
            except (IntegrityError, AttributeError) as error:
                log.warning("%s: %s", newest.key, error)
                self._passed_over.add(newest.key)
                self._fail("measures")
                return
            if found.policy is None:  # of a version that did not serve: somebody wanted to know
                self._passed_over.add(newest.key)
                return
            self.state.measure = found
        self._measure_from = _end_of(newest.key)

    def _read_freshness(self) -> None:
        listed = [e for e in self._store.list(freshness_folder(self.state.name)) if e.key.endswith(".json")]
        for entry in listed[:_MOST_VIEWS]:
            if self._views.get(entry.key) != (entry.modified, entry.etag):
                self._read_view(entry)
        here = {entry.key.rpartition("/")[2].removesuffix(".json") for entry in listed}
        self.state.freshness = {view: one for view, one in self.state.freshness.items() if view in here}

    def _read_view(self, entry: Entry) -> None:
        try:
            freshness = ViewFreshness.from_json(json.loads(self._store.get(entry.key)))
        except NotFoundError:
            return
        except _ODD as error:
            log.warning("%s: this is no state of a view: %s", entry.key, _said(error))
            self._fail("freshness")
        else:
            self.state.freshness[freshness.view] = freshness
        self._views[entry.key] = (entry.modified, entry.etag)


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _end_of(key: str) -> str:
    """A measure's key up to the end of its window: what sorts right before all measures of that end."""
    return key.partition(_STAMP_END)[0]

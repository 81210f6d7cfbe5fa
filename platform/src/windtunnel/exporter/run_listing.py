"""Finds stage records that were not there before, without listing all of them at each look."""

from __future__ import annotations

import heapq
import zlib
from datetime import timedelta
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from datetime import datetime

    from windtunnel.objects import Entry, ObjectStore

OPEN_FOR: Final = timedelta(hours=1)
"""A run that wrote nothing for so long is looked at only when everything is."""
EVERYTHING_AFTER: Final = timedelta(minutes=10)
"""What comes late, such as the end of a rollout that paused for a day, is found after this at most."""


class RunListing:
    """Of one lifecycle: `<lifecycle>/runs/<run>/<record>.json`. One look is a request for each thousand runs
    and one for each run that is new or at work; every ten minutes it is one for each thousand records.
    """

    def __init__(self, store: ObjectStore, lifecycle: str) -> None:
        self._store = store
        self._prefix = f"{lifecycle}/runs"
        self._known: set[str] = set()
        self._open: dict[str, datetime] = {}
        """Runs at work, and when the newest of their records was written."""
        self._everything_at: datetime | None = None
        """When everything is due; None: at the next look."""
        # Not all lifecycles at one moment, every ten minutes after a start.
        self._first_wait = EVERYTHING_AFTER * (zlib.crc32(lifecycle.encode()) / 2**32)

    def look(self, now: datetime, is_new: Callable[[Entry], bool], most: int) -> tuple[list[Entry], int]:
        """Of the records that are new the oldest, `most` at most, the oldest first; and how many are new.

        Years of records are listed without being held. Raises StoreError.
        """
        if everything := self._everything_at is None or now >= self._everything_at:
            found: Iterable[Entry] = self._store.each(self._prefix)
            known: set[str] = set()
        else:
            runs = set(self._store.folders(self._prefix))
            known = self._known & runs
            at_work = sorted((runs - known) | (self._open.keys() & runs))
            found = [entry for run in at_work for entry in self._store.list(f"{self._prefix}/{run}")]
        at_work_now = {run: newest for run, newest in self._open.items() if now - newest < OPEN_FOR}
        count = 0

        def new() -> Iterator[Entry]:
            nonlocal count
            for entry in found:
                run = entry.key.removeprefix(f"{self._prefix}/").partition("/")[0]
                known.add(run)
                if now - entry.modified < OPEN_FOR:
                    at_work_now[run] = max(entry.modified, at_work_now.get(run, entry.modified))
                if entry.key.endswith(".json") and is_new(entry):
                    count += 1
                    yield entry

        oldest = heapq.nsmallest(most, new(), key=lambda entry: (entry.modified, entry.key))
        self._known, self._open = known, at_work_now
        if everything:
            first = self._everything_at is None
            self._everything_at = now + (self._first_wait if first else EVERYTHING_AFTER)
        return oldest, count

    def again(self) -> None:
        """List everything at the next look: not all of what was found has been read."""
        self._everything_at = None

"""Finds stage records that were not there before, without listing all of them at each look."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from datetime import datetime

    from windtunnel.objects import Entry, ObjectStore

OPEN_FOR: Final = timedelta(hours=1)
"""A run that wrote nothing for so long is looked at only when everything is."""
EVERYTHING_AFTER: Final = timedelta(minutes=10)
"""What comes late, such as the end of a rollout that paused for a day, is found after this at most."""


class RunListing:
    """Of one lifecycle: `<lifecycle>/runs/<run>/<record>.json`. One look is one request, one more for each
    run that is new or at work, and every ten minutes one for each thousand records.
    """

    def __init__(self, store: ObjectStore, lifecycle: str) -> None:
        self._store = store
        self._prefix = f"{lifecycle}/runs"
        self._known: set[str] = set()
        self._open: dict[str, datetime] = {}
        """Runs at work, and when the newest of their records was written."""
        self._everything_at: datetime | None = None

    def look(self, now: datetime) -> list[Entry]:
        """Records of all runs that may have new ones. Raises StoreError."""
        if self._everything_at is None or now - self._everything_at >= EVERYTHING_AFTER:
            found = self._store.list(self._prefix)
            self._known = set()
            self._everything_at = now
        else:
            runs = set(self._store.folders(self._prefix))
            self._known &= runs
            found = [
                entry
                for run in sorted((runs - self._known) | (self._open.keys() & runs))
                for entry in self._store.list(f"{self._prefix}/{run}")
            ]
        self._sort_in(found, now)
        return [entry for entry in found if entry.key.endswith(".json")]

    def again(self) -> None:
        """List everything at the next look: not all of what was found has been read."""
        self._everything_at = None

    def _sort_in(self, found: list[Entry], now: datetime) -> None:
        for entry in found:
            run = entry.key.removeprefix(f"{self._prefix}/").partition("/")[0]
            self._known.add(run)
            self._open[run] = max(entry.modified, self._open.get(run, entry.modified))
        self._open = {run: newest for run, newest in self._open.items() if now - newest < OPEN_FOR}

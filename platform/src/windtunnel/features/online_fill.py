"""Fill the online store with a slice of a view's feature rows: the newest row of every key, by Feast.

Slices may be written in any order and at the same time, again and after being killed: the online store keeps
the newer of two values of a key by itself, and takes the last written of two that are equally old, so a
corrected day replaces what it gave before. What is past the view's ttl already is not written.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from datetime import time as time_of_day
from typing import TYPE_CHECKING

from windtunnel.features.daily import digest_of, in_groups
from windtunnel.features.definitions import LATEST, load_definitions
from windtunnel.features.engines import feature_engine
from windtunnel.features.feature_store import online_store_config, open_feature_store
from windtunnel.features.online.materialization import MaterializationReport
from windtunnel.features.online.online_marker import Marker, online_faults, open_markers
from windtunnel.features.staging import staged_directory

if TYPE_CHECKING:
    from datetime import date

    from feast import FeatureStore

    from windtunnel.features.daily import Sidecar
    from windtunnel.features.online.online_marker import Slice
    from windtunnel.features.point_in_time import FeatureEnv

# Of feature files on this disk at a time; a day that is larger stands alone.
GROUP_BYTES = 512 * 2**20


def fill_slice(env: FeatureEnv, view: str, days: Slice, sidecars: dict[date, Sidecar]) -> Filled:
    """Write the newest row of every key of these days, and leave the slice's marker.

    `sidecars` are those of the view's feature files of the slice (at least one). Raises StoreError when the
    online store does not answer, TemporaryError when somebody else wrote the same days meanwhile.
    """
    began = time.monotonic()
    markers = open_markers(env.settings, env.lifecycle.name, view)
    claimed = digest_of({view: sidecars})
    markers.begin(days, claimed)
    filling = _Filling(env, view, markers.read().newest_event)
    filling.fill(sidecars)
    marker = Marker(
        digest=digest_of({view: filling.read}),
        newest_event=filling.newest_event,
        rows=filling.report.written,
        bytes=sum(sidecar.bytes for sidecar in filling.read.values()),
        seconds=round(time.monotonic() - began, 2),
    )
    markers.end(days, claimed, marker)
    return Filled(marker, filling.report.skipped)


@dataclass(frozen=True)
class Filled:
    """`skipped`: keys of which the online store already held a newer row."""

    marker: Marker
    skipped: int


class _Filling:
    """Goes through a slice from its newest day on, in groups of files if the disk must have room for them."""

    def __init__(self, env: FeatureEnv, view: str, newest_filled: datetime | None) -> None:
        definitions = load_definitions(env.directory, env.lifecycle)
        self.newest_event: datetime | None = None
        self.report = MaterializationReport()
        self.read: dict[date, Sidecar] = {}
        self._newest_filled = newest_filled
        self._env = env
        self._view = definitions.views[view]
        self._definitions = definitions
        self._engine = feature_engine(env.lifecycle.spec.features.engine, env.settings)

    def fill(self, sidecars: dict[date, Sidecar]) -> None:
        newest_first = dict(sorted(sidecars.items(), reverse=True))
        for group in in_groups(newest_first, GROUP_BYTES) if self._engine.copies else (newest_first,):
            self._fill_group(group)

    def _fill_group(self, group: dict[date, Sidecar]) -> None:
        alive = {day: sidecar for day, sidecar in group.items() if self._may_be_alive(day)}
        self.read |= {day: sidecar for day, sidecar in group.items() if day not in alive}
        fetched = self._engine.fetch(
            self._env.store, self._env.lifecycle.name, self._view.name, alive, self._env.work
        )
        self.read |= fetched.read
        first, last = self._engine.extent(fetched)
        if first and last:
            self.newest_event = max(self.newest_event or last, last)
            self._newest_filled = max(self._newest_filled or last, last)
            first = max(first, self._oldest_alive() or first)
            if first <= last:
                self.report += self._engine.materialize(
                    self._open(fetched.files), self._view.name, first, last
                )
        shutil.rmtree(staged_directory(self._env.work, self._view.name), ignore_errors=True)

    def _open(self, files: str) -> FeatureStore:
        with online_faults(self._env.settings):
            return open_feature_store(
                self._definitions,
                self._env.lifecycle.name,
                {self._view.name: files},
                self._env.work,
                self._engine,
                online_store_config(self._env.settings),
            )

    def _may_be_alive(self, day: date) -> bool:
        oldest = self._oldest_alive()
        return oldest is None or datetime.combine(day, time_of_day(), UTC) + LATEST >= oldest

    def _oldest_alive(self) -> datetime | None:
        """The event timestamp before which a row is past its ttl, measured at the newest event of the view;
        never in the future, where rows may be dated that are not in force yet.
        """
        if self._view.ttl is None or self._newest_filled is None:
            return None
        return min(self._newest_filled, datetime.now(UTC)) - self._view.ttl

"""Feature rows on this machine: files of the days that are needed, copied from the object store, each held
against the digest in its sidecar."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from windtunnel.features.daily import at_once, feature_rows_of, in_groups
from windtunnel.features.definitions import EVENT_TIMESTAMP

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date, datetime
    from pathlib import Path

    from windtunnel.features.daily import Sidecar
    from windtunnel.objects import ObjectStore

# Of files in memory while they are copied.
BYTES_AT_ONCE = 64 * 2**20


@dataclass(frozen=True)
class Fetched:
    """Feature rows of a view that can be read: how a source names the files, and which days they are."""

    files: str
    read: dict[date, Sidecar]


class StagedRows:
    """For engines that read files of this machine."""

    copies = True
    """Whether `fetch` takes room on this machine's disk."""

    def fetch(
        self, store: ObjectStore, lifecycle: str, view: str, sidecars: Mapping[date, Sidecar], work: Path
    ) -> Fetched:
        """Make a view's files of those days readable."""
        read = stage_feature_rows(store, lifecycle, view, sidecars, work)
        return Fetched(f"{staged_directory(work, view)}/*.parquet", read)

    def extent(self, fetched: Fetched) -> tuple[datetime | None, datetime | None]:
        """First and last event timestamp."""
        if not fetched.read:
            return None, None
        when = pl.col(EVENT_TIMESTAMP)
        times = pl.scan_parquet(fetched.files).select(first=when.min(), last=when.max()).collect()
        return times["first"][0], times["last"][0]


def staged_directory(work: Path, view: str) -> Path:
    """Where `stage_feature_rows` puts the files of a view."""
    return work / "rows" / view


def stage_feature_rows(
    store: ObjectStore, lifecycle: str, view: str, sidecars: Mapping[date, Sidecar], work: Path
) -> dict[date, Sidecar]:
    """Copy a view's files of those days into its `staged_directory`, digests verified.

    Returns the sidecars of what was copied: a day that was written anew since it was listed comes in its new
    form, or not at all when it has no rows any more.
    """
    files = feature_rows_of(store, lifecycle, view)
    target = staged_directory(work, view)
    target.mkdir(parents=True, exist_ok=True)

    def copy_file(item: tuple[date, Sidecar]) -> Sidecar:
        data, sidecar = files.read_current(*item)
        if sidecar.present:
            (target / f"{item[0]}.parquet").write_bytes(data)
        return sidecar

    copied: dict[date, Sidecar] = {}
    for group in in_groups(sidecars, BYTES_AT_ONCE):
        copied |= zip(group, at_once(copy_file, list(group.items())), strict=True)
    return {day: sidecar for day, sidecar in copied.items() if sidecar.present}

"""An object store in memory with a clock of its own, so that what is in it can be old."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from obstore.store import MemoryStore

from windtunnel.objects import ObjectStore

if TYPE_CHECKING:
    from collections.abc import Iterator

    from windtunnel.objects import Entry


class AgedStore(ObjectStore):
    """What is written is as old as `now` says at that moment."""

    def __init__(self) -> None:
        super().__init__("s3://windtunnel", MemoryStore())
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self._written: dict[str, datetime] = {}

    def put(self, key: str, data: bytes) -> None:
        super().put(key, data)
        self._written[key] = self.now

    def put_new(self, key: str, data: bytes) -> bool:
        if made := super().put_new(key, data):
            self._written[key] = self.now
        return made

    def keys(self, prefix: str = "") -> set[str]:
        return {entry.key for entry in self.list(prefix)}

    def _listed(self, prefix: str, after: str) -> Iterator[Entry]:
        for entry in super()._listed(prefix, after):
            yield replace(entry, modified=self._written.get(entry.key, self.now))

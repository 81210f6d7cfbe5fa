"""An object store in memory with a clock of its own, so that what is in it can be old; a lifecycle for it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from obstore.store import MemoryStore

from windtunnel.objects import ObjectStore
from windtunnel.spec.lifecycle import Lifecycle

if TYPE_CHECKING:
    from collections.abc import Iterator

    from windtunnel.objects import Entry
    from windtunnel.spec.retention import Retention


def shop(retention: Retention) -> Lifecycle:
    """One source, one view, windows of 28 and 7 days, and what it keeps for how long."""
    return Lifecycle.model_validate(
        {
            "apiVersion": "windtunnel.dev/v1alpha1",
            "kind": "Lifecycle",
            "metadata": {"name": "shop", "owner": "tests"},
            "spec": {
                "sources": {"orders": {"uri": "sources/orders/{date}.parquet", "schema": "features:Orders"}},
                "features": {"transform": "features:transform", "views": ["customer"], "service": "shop"},
                "label": {"rows": "features:entity_rows", "column": "bought", "kind": "binary"},
                "training": {"function": "train:train"},
                "retention": retention,
            },
        }
    )


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

    def modified(self, key: str) -> datetime | None:
        return self._written.get(key, self.now) if super().modified(key) else None

    def keys(self, prefix: str = "") -> set[str]:
        return {entry.key for entry in self.list(prefix)}

    def _listed(self, prefix: str, after: str) -> Iterator[Entry]:
        for entry in super()._listed(prefix, after):
            yield replace(entry, modified=self._written.get(entry.key, self.now))

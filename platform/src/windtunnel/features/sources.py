"""Raw partitions, where a lifecycle says that they are: in the object store or in another bucket."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from windtunnel.objects import open_store

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import date

    from windtunnel.objects import Entry, ObjectStore
    from windtunnel.spec.lifecycle import Source


class RawPartitions:
    """The raw partitions of one source; nothing is read until asked."""

    def __init__(self, store: ObjectStore, source: Source) -> None:
        self._store, self._template = _locate(store, source.uri)

    def key(self, day: date) -> str:
        return self._template.replace("{date}", str(day))

    def uri(self, day: date) -> str:
        return self._store.uri(self.key(day))

    def entries(self, days: Iterable[date]) -> dict[date, Entry]:
        """Of the days that have one; one listing."""
        folder = self._template.partition("{date}")[0].rpartition("/")[0]
        found = {entry.key: entry for entry in self._store.list(folder)}
        return {day: found[self.key(day)] for day in days if self.key(day) in found}

    def read(self, day: date) -> bytes:
        return self._store.get(self.key(day))


def _locate(store: ObjectStore, uri: str) -> tuple[ObjectStore, str]:
    if "://" not in uri:
        return store, uri
    if uri.startswith(store.url + "/"):
        return store, uri.removeprefix(store.url + "/")
    parts = urlsplit(uri)
    return open_store(f"{parts.scheme}://{parts.netloc}", os.environ), parts.path.lstrip("/")

"""An object store in memory whose calls fail on demand: before they are done, or when they are done."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from obstore.store import MemoryStore

from windtunnel.errors import StoreError
from windtunnel.objects import ObjectStore

if TYPE_CHECKING:
    from collections.abc import Iterator

    from windtunnel.objects import Entry


class FaultyStore(ObjectStore):
    """`faults` says for each call in turn: None (well), "before", or "after" (done, the answer is lost)."""

    def __init__(self) -> None:
        super().__init__("s3://windtunnel", MemoryStore())
        self.faults: Iterator[str | None] = iter(())
        self.away = False
        self.calls: Counter[str] = Counter()

    def get(self, key: str) -> bytes:
        after = self._begin("get")
        found = super().get(key)
        self._end(after)
        return found

    def put_new(self, key: str, data: bytes) -> bool:
        after = self._begin("put_new")
        found = super().put_new(key, data)
        self._end(after)
        return found

    def folders(self, prefix: str = "") -> list[str]:
        lost = self._begin("folders")
        found = super().folders(prefix)
        self._end(lost)
        return found

    def each(self, prefix: str = "") -> Iterator[Entry]:
        lost = self._begin("list")
        yield from super().each(prefix)
        self._end(lost)

    def list(self, prefix: str = "", *, after: str = "") -> list[Entry]:
        lost = self._begin("list")
        found = super().list(prefix, after=after)
        self._end(lost)
        return found

    def _begin(self, call: str) -> bool:
        self.calls[call] += 1
        fault = next(self.faults, None)
        if self.away or fault == "before":
            raise StoreError("the object store failed")
        return fault == "after"

    def _end(self, after: bool) -> None:
        if after:
            raise StoreError("the answer of the object store was lost")

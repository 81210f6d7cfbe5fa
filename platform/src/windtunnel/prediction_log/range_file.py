"""An object as a file that is read in pieces: of a parquet file often only its end is wanted."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from typing import Any

    from windtunnel.objects import ObjectStore

_TAIL: Final = 32 * 1024
"""Bytes at the end that are read together; the footer of most files is in them."""


class RangeFile(io.RawIOBase):
    """`size` bytes under `key`. Reading raises NotFoundError, StoreError."""

    def __init__(self, store: ObjectStore, key: str, size: int) -> None:
        self._store = store
        self._key = key
        self._size = size
        self._at = 0
        self._tail_from = max(0, size - _TAIL)
        self._tail: bytes | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def read(self, size: int = -1) -> bytes:
        end = self._size if size < 0 else min(self._size, self._at + size)
        if end <= self._at:
            return b""
        data = self._bytes(self._at, end)
        self._at += len(data)
        return data

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def _bytes(self, start: int, end: int) -> bytes:
        if start < self._tail_from:
            return self._store.get_range(self._key, start, end - start)
        if self._tail is None:
            self._tail = self._store.get_range(self._key, self._tail_from, self._size - self._tail_from)
        return self._tail[start - self._tail_from : end - self._tail_from]

"""The ledger: promotions, rollbacks, refusals, in order and for good.

`<lifecycle>/ledger/<000001>.json`, each written by a conditional put and naming the digest of the one before,
so that of two writers one is first, and a changed or missing entry shows.
"""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from windtunnel.digests import canonical_json, digest
from windtunnel.errors import ConflictError, IntegrityError, NotFoundError

if TYPE_CHECKING:
    from windtunnel.objects import ObjectStore

_TRIES = 100


class Ledger:
    """Entries are numbered from 1."""

    def __init__(self, store: ObjectStore, lifecycle: str) -> None:
        self._store = store
        self._prefix = f"{lifecycle}/ledger"

    def append(self, entry: dict[str, Any], identity: str = "") -> int:
        """Write the entry (JSON) after the last one and return its number.

        An entry with an `identity` is written once: if there is one already, its number is returned. The
        ledger adds `number`, `previous`, `written` (unless given) and `id` (the identity, or a random one).
        Raises ConflictError when other writers were faster 100 times in a row.
        """
        written = entry.get("written") or datetime.now(UTC).isoformat()
        # Before looking, so that an equal entry written since is met below.
        number = self._last()
        found = self.find(identity) if identity else None
        if found:
            return int(found["number"])
        identity = identity or uuid.uuid4().hex
        for _ in range(_TRIES):
            previous = digest(self._store.get(self._key(number))) if number else ""
            number += 1
            content = {**entry, "number": number, "previous": previous, "written": written, "id": identity}
            # A put whose answer was lost is retried below us and then finds its own entry.
            key = self._key(number)
            if self._store.put_new(key, canonical_json(content)) or self._is_mine(key, identity):
                return number
        raise ConflictError("too many writers at once", where=self._prefix, fix="try again")

    def find(self, identity: str) -> dict[str, Any] | None:
        """The entry with this identity."""
        return next((entry for entry in self.entries() if entry["id"] == identity), None)

    def entries(self) -> list[dict[str, Any]]:
        """All entries, the oldest first."""
        return [json.loads(self._store.get(entry.key)) for entry in self._store.list(self._prefix)]

    def verify(self) -> int:
        """Read everything and check the chain; returns the number of entries, raises IntegrityError."""
        previous = ""
        count = 0
        for count, listed in enumerate(self._store.list(self._prefix), start=1):
            if listed.key != self._key(count):
                raise IntegrityError(f"entry {count} is missing", where=self._key(count))
            data = self._store.get(listed.key)
            content = json.loads(data)
            if content.get("previous") != previous or content.get("number") != count:
                raise IntegrityError(
                    "the entry does not follow the one before it: one of the two was changed",
                    where=listed.key,
                )
            previous = digest(data)
        return count

    def _last(self) -> int:
        entries = self._store.list(self._prefix)
        return int(entries[-1].key.rpartition("/")[2].removesuffix(".json")) if entries else 0

    def _is_mine(self, key: str, identity: str) -> bool:
        try:
            return bool(json.loads(self._store.get(key)).get("id") == identity)
        except NotFoundError:
            return False

    def _key(self, number: int) -> str:
        return f"{self._prefix}/{number:06d}.json"

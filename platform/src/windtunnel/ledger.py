"""The ledger: promotions, rollbacks, refusals, in order and for good.

`<lifecycle>/ledger/<000001>.json`, each written by a conditional put and naming the digest of the one before,
so that of two writers one is first, and a changed or missing entry shows.
"""

from __future__ import annotations

import json
import re
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from windtunnel.digests import canonical_json, digest
from windtunnel.errors import ConflictError, IntegrityError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from windtunnel.objects import ObjectStore

_NAME = re.compile(r"(\d{6})\.json")
_READ_AT_ONCE = 16
_TRIES = 100
_SKEW = timedelta(hours=1)


class Ledger:
    """Entries are numbered from 1."""

    def __init__(self, store: ObjectStore, lifecycle: str) -> None:
        self._store = store
        self._prefix = f"{lifecycle}/ledger"
        self._known = 0
        """Number of an entry that is there for sure: where a listing begins."""

    def append(self, entry: dict[str, Any], identity: str = "", since: datetime | None = None) -> int:
        """Write the entry (JSON) after the last one and return its number; see `append_all`."""
        return self.append_all([(identity, entry)], since=since)[0]

    def append_all(
        self, entries: Sequence[tuple[str, dict[str, Any]]], since: datetime | None = None
    ) -> list[int]:
        """Write the entries, each with its identity, in this order after the last one; their numbers.

        An entry with an identity (not "") is written once: if there is one already, its number is returned.
        It is looked for backwards, among entries that were written after `since` (an hour earlier, in case
        clocks differ), or among all. The ledger adds `number`, `previous`, `written` and `id` (the identity,
        or a random one). Raises ConflictError when other writers were faster 100 times in a row.
        """
        # The end before the search, so that an equal entry written since is met by the put.
        last = self._last()
        wanted = {identity for identity, _ in entries if identity}
        found = self._numbers(wanted, last, since)
        numbers = []
        for given, entry in entries:
            identity = given or uuid.uuid4().hex
            if identity not in found:
                last = self._known = found[identity] = self._put(entry, identity, last)
            numbers.append(found[identity])
        return numbers

    def find(self, identity: str, since: datetime | None = None) -> dict[str, Any] | None:
        """The entry with this identity, looked for as in `append_all`."""
        number = self._numbers({identity}, self._last(), since).get(identity)
        return None if number is None else self._read(number)

    def newest(self, count: int, since: datetime | None = None) -> list[dict[str, Any]]:
        """The last entries, the oldest of them first: so many, and all that were written after `since` (an
        hour earlier, in case clocks differ).
        """
        last = self._last()
        oldest = since - _SKEW if since else None
        found: list[dict[str, Any]] = []
        for number in range(last, 0, -1):
            more = number > last - count
            if not more and oldest is None:
                break
            entry = self._read(number)
            if entry is None:
                continue
            if not more and oldest and datetime.fromisoformat(entry["written"]) < oldest:
                break
            found.append(entry)
        return found[::-1]

    def after(self, number: int) -> Iterator[tuple[int, bytes]]:
        """Numbers behind that one, and what is written there, whatever it is; the oldest first. An S3 store
        lists no others.
        """
        listed = self._store.list(self._prefix, after=self._key(number) if number else "")
        for entry in listed:
            if (found := _number(entry.key)) is not None:
                yield found, self._store.get(entry.key)

    def entries(self) -> list[dict[str, Any]]:
        """All entries, the oldest first."""
        return [json.loads(self._store.get(entry.key)) for entry in self._store.list(self._prefix)]

    def verify(self) -> int:
        """Read everything and check the chain; returns the number of entries, raises IntegrityError."""
        return len(self.verified_entries())

    def verified_entries(self) -> list[dict[str, Any]]:
        """All entries, the oldest first, when the chain is whole; raises IntegrityError when it is not."""
        listed = [entry for entry in self._store.list(self._prefix) if _number(entry.key) is not None]
        with ThreadPoolExecutor(_READ_AT_ONCE, thread_name_prefix="ledger") as pool:
            contents = list(pool.map(lambda entry: self._store.get(entry.key), listed))
        previous = ""
        entries = []
        for number, (entry, data) in enumerate(zip(listed, contents, strict=True), start=1):
            if entry.key != self._key(number):
                raise IntegrityError(f"entry {number} is missing", where=self._key(number))
            content = _parsed(data, entry.key)
            if content.get("previous") != previous or content.get("number") != number:
                raise IntegrityError(
                    "the entry does not follow the one before it: one of the two was changed",
                    where=entry.key,
                )
            previous = digest(data)
            entries.append(content)
        return entries

    def _put(self, entry: dict[str, Any], identity: str, last: int) -> int:
        """Write behind the entry `last`, or behind those that others put there; the number."""
        for number in range(last + 1, last + 1 + _TRIES):
            previous = digest(self._store.get(self._key(number - 1))) if number > 1 else ""
            written = datetime.now(UTC).isoformat()
            content = {**entry, "number": number, "previous": previous, "written": written, "id": identity}
            # A put whose answer was lost is retried below us and then finds its own entry.
            key = self._key(number)
            if self._store.put_new(key, canonical_json(content)) or self._is_mine(key, identity):
                return number
        raise ConflictError("too many writers at once", where=self._prefix, fix="try again")

    def _numbers(self, identities: set[str], last: int, since: datetime | None) -> dict[str, int]:
        """Numbers of the entries with these identities, from `last` backwards."""
        found: dict[str, int] = {}
        oldest = since - _SKEW if since else None
        for number in range(last, 0, -1):
            if identities <= found.keys():
                break
            entry = self._read(number)
            if entry is None:
                continue  # `verify` tells of it
            if oldest and datetime.fromisoformat(entry["written"]) < oldest:
                break
            if entry["id"] in identities:
                found[entry["id"]] = number
        return found

    def _read(self, number: int) -> dict[str, Any] | None:
        try:
            content: dict[str, Any] = json.loads(self._store.get(self._key(number)))
        except NotFoundError:
            return None
        return content

    def _last(self) -> int:
        """Number of the last entry; only what is behind the last known one is listed."""
        after = self._key(self._known) if self._known else ""
        for listed in reversed(self._store.list(self._prefix, after=after)):
            if (found := _number(listed.key)) is not None:
                self._known = found
                break
        return self._known

    def _is_mine(self, key: str, identity: str) -> bool:
        try:
            return bool(json.loads(self._store.get(key)).get("id") == identity)
        except NotFoundError:
            return False

    def _key(self, number: int) -> str:
        return f"{self._prefix}/{number:06d}.json"


def _number(key: str) -> int | None:
    """Of an entry; None of what is none."""
    found = _NAME.fullmatch(key.rpartition("/")[2])
    return int(found[1]) if found else None


def _parsed(data: bytes, where: str) -> dict[str, Any]:
    try:
        content = json.loads(data)
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise IntegrityError("the entry is no JSON object", where=where)
    return content

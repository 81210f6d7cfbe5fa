"""Markers in the online store: which slices of days each view was filled with.

They live beside the features, so that they are lost together with them: a marker is what makes a
materialization that is found again true. In Redis they are the hash
`windtunnel:materialized:<lifecycle>:<view>` with a field `<start>..<end>` per slice, in SQLite a table.

`begin` takes away every marker that a slice overlaps and puts a claim in their place; `end` turns the claim
into the marker. So a slice that was not finished has no marker, whenever it was killed; and of two that write
the same days from different feature rows at the same time, neither is believed.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any, Protocol

from windtunnel.errors import PermanentError, StoreError, TemporaryError
from windtunnel.features.online.redis_address import RedisAddress
from windtunnel.settings import sqlite_path, without_credentials

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from windtunnel.settings import Settings

TIMEOUT_SECONDS = 5
Slice = tuple[date, date]
"""First and last day, both included."""
_TABLE = """\
CREATE TABLE IF NOT EXISTS windtunnel_materialized_slices
(name TEXT, slice TEXT, marker TEXT NOT NULL, PRIMARY KEY (name, slice))"""


@dataclass(frozen=True)
class Marker:
    """What a slice was filled with.

    `digest` is over its feature files and what was made of them; `newest_event` the newest event timestamp in
    it (UTC; None: it has no rows); `rows` the keys written, `bytes` those of the feature files.
    """

    digest: str
    newest_event: datetime | None = None
    rows: int = 0
    bytes: int = 0
    seconds: float = 0.0

    def to_json(self) -> str:
        newest = self.newest_event.isoformat() if self.newest_event else None
        return json.dumps({**asdict(self), "newest_event": newest})

    @classmethod
    def from_json(cls, text: str) -> Marker | None:
        """None for a claim."""
        value = json.loads(text)
        if _CLAIM in value:
            return None
        newest = value["newest_event"]
        return cls(**{**value, "newest_event": datetime.fromisoformat(newest) if newest else None})


_CLAIM = "writing"
_NEWEST = "newest_event"


@dataclass(frozen=True)
class Materialized:
    """What a view in the online store was filled with.

    `newest_event` is the newest event timestamp that ever came in: it outlives the markers of slices that are
    being written again.
    """

    newest_event: datetime | None
    slices: dict[Slice, Marker]

    def missing(self, days: Iterable[date]) -> list[date]:
        """Those of the days that no slice holds."""
        return [day for day in days if not any(first <= day <= last for first, last in self.slices)]

    def intervals(self) -> list[tuple[datetime, datetime]]:
        """Of the days that are filled, in order; slices that follow each other are one interval."""
        joined: list[tuple[datetime, datetime]] = []
        for first, last in sorted(self.slices):
            start, end = _midnight(first), _midnight(last) + timedelta(days=1)
            if joined and start <= joined[-1][1]:
                joined[-1] = joined[-1][0], max(end, joined[-1][1])
            else:
                joined.append((start, end))
        return joined


class Markers(Protocol):
    """Of one view."""

    def read(self) -> Materialized: ...

    def begin(self, days: Slice, claim: str) -> None:
        """Before anything is written; `claim` is the digest of what will be."""
        ...

    def end(self, days: Slice, claim: str, marker: Marker) -> None:
        """After everything was written; raises TemporaryError when somebody else began meanwhile."""
        ...


def open_markers(settings: Settings, lifecycle: str, view: str) -> Markers:
    """Those of the online store that the settings name; faults become StoreError when it is asked."""
    if sqlite_path(settings.online_store):
        return _SqliteMarkers(settings, f"{lifecycle}:{view}")
    return _RedisMarkers(settings, f"windtunnel:materialized:{lifecycle}:{view}")


class _RedisMarkers:
    def __init__(self, settings: Settings, key: str) -> None:
        self._settings = settings
        self._key = key

    @contextlib.contextmanager
    def _client(self) -> Iterator[Any]:
        import redis

        address = RedisAddress.parse(self._settings.online_store, self._settings.online_store_password)
        with (
            online_faults(self._settings),
            redis.Redis(
                host=address.host,
                port=address.port,
                db=address.db,
                username=address.username or None,
                password=address.password or None,
                ssl=address.tls is not None,
                socket_timeout=TIMEOUT_SECONDS,
                socket_connect_timeout=TIMEOUT_SECONDS,
                decode_responses=True,
            ) as client,
        ):
            yield client

    def read(self) -> Materialized:
        with self._client() as client:
            return _materialized(self._stored(client))

    def _stored(self, client: Any) -> dict[str, str]:
        """Nothing of a text, which is what Windtunnel 0.1 wrote under this key."""
        return dict(client.hgetall(self._key)) if client.type(self._key) == "hash" else {}

    def begin(self, days: Slice, claim: str) -> None:
        def put(pipe: Any) -> None:
            stored = self._stored(pipe)
            fields = _overlapped(stored, days)
            pipe.multi()
            if fields:
                pipe.hdel(self._key, *fields)
            elif not stored:
                pipe.delete(self._key)
            pipe.hset(self._key, _field(days), _claim(claim))

        with self._client() as client:
            client.transaction(put, self._key)

    def end(self, days: Slice, claim: str, marker: Marker) -> None:
        def seal(pipe: Any) -> bool:
            stored = self._stored(pipe)
            is_ours = _is_ours(stored, days, claim)
            pipe.multi()
            if is_ours:
                pipe.hset(self._key, mapping=_sealed(stored, days, marker))
            elif fields := _overlapped(stored, days):
                pipe.hdel(self._key, *fields)
            return is_ours

        with self._client() as client:
            if not client.transaction(seal, self._key, value_from_callable=True):
                raise _disturbed(self._key, days)


class _SqliteMarkers:
    def __init__(self, settings: Settings, name: str) -> None:
        self._settings = settings
        self._name = name

    @contextlib.contextmanager
    def _table(self) -> Iterator[sqlite3.Connection]:
        """In one transaction, which nobody else writes in."""
        path = sqlite_path(self._settings.online_store)
        with (
            online_faults(self._settings),
            contextlib.closing(sqlite3.connect(path, timeout=60, isolation_level=None)) as connection,
        ):
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(_TABLE)
            yield connection
            connection.execute("COMMIT")

    def read(self) -> Materialized:
        with self._table() as table:
            return _materialized(self._stored(table))

    def begin(self, days: Slice, claim: str) -> None:
        with self._table() as table:
            self._remove(table, _overlapped(self._stored(table), days))
            self._put(table, {_field(days): _claim(claim)})

    def end(self, days: Slice, claim: str, marker: Marker) -> None:
        with self._table() as table:
            stored = self._stored(table)
            is_ours = _is_ours(stored, days, claim)
            if is_ours:
                self._put(table, _sealed(stored, days, marker))
            else:
                self._remove(table, _overlapped(stored, days))
        if not is_ours:
            raise _disturbed(self._name, days)

    def _stored(self, table: sqlite3.Connection) -> dict[str, str]:
        query = "SELECT slice, marker FROM windtunnel_materialized_slices WHERE name = ?"
        return dict(table.execute(query, (self._name,)).fetchall())

    def _put(self, table: sqlite3.Connection, fields: Mapping[str, str]) -> None:
        query = "INSERT OR REPLACE INTO windtunnel_materialized_slices VALUES (?, ?, ?)"
        table.executemany(query, [(self._name, field, text) for field, text in fields.items()])

    def _remove(self, table: sqlite3.Connection, fields: list[str]) -> None:
        query = "DELETE FROM windtunnel_materialized_slices WHERE name = ? AND slice = ?"
        table.executemany(query, [(self._name, field) for field in fields])


def _field(days: Slice) -> str:
    return f"{days[0]}..{days[1]}"


def _days(field: str) -> Slice:
    first, _, last = field.partition("..")
    return date.fromisoformat(first), date.fromisoformat(last)


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _claim(digest: str) -> str:
    return json.dumps({_CLAIM: digest})


def _materialized(stored: Mapping[str, str]) -> Materialized:
    newest = stored.get(_NEWEST)
    found = {_days(field): Marker.from_json(stored[field]) for field in _slices(stored)}
    return Materialized(
        newest_event=datetime.fromisoformat(newest) if newest else None,
        slices={days: marker for days, marker in found.items() if marker},
    )


def _slices(stored: Mapping[str, str]) -> list[str]:
    return [field for field in stored if field != _NEWEST]


def _overlapped(stored: Mapping[str, str], days: Slice) -> list[str]:
    first, last = days
    return [field for field in _slices(stored) if _days(field)[0] <= last and first <= _days(field)[1]]


def _sealed(stored: Mapping[str, str], days: Slice, marker: Marker) -> dict[str, str]:
    events = [event for event in (_materialized(stored).newest_event, marker.newest_event) if event]
    newest = {_NEWEST: max(events).isoformat()} if events else {}
    return {_field(days): marker.to_json(), **newest}


def _is_ours(stored: Mapping[str, str], days: Slice, claim: str) -> bool:
    """Whether nobody else began on these days since, or somebody did with the same feature rows."""
    text = stored.get(_field(days))
    if text is None:
        return False
    value = json.loads(text)
    return bool(value.get(_CLAIM, value.get("digest")) == claim)


def _disturbed(where: str, days: Slice) -> TemporaryError:
    return TemporaryError(
        f"another materialization wrote into {_field(days)} at the same time, from other feature rows",
        where=where,
        fix="let one of them end, then run this again",
    )


@contextlib.contextmanager
def online_faults(settings: Settings) -> Iterator[None]:
    """Faults of the online store's clients become ours; the password is in none of them."""
    import redis

    where = without_credentials(settings.online_store)
    try:
        yield
    except (redis.AuthenticationError, redis.exceptions.NoPermissionError) as error:
        raise PermanentError(
            f"the online store refused: {error}",
            where=where,
            fix="check WINDTUNNEL_ONLINE_STORE_PASSWORD",
        ) from error
    except (redis.RedisError, sqlite3.OperationalError) as error:
        raise StoreError(f"the online store failed: {error}", where=where, fix="see that it runs") from error

"""Markers in the online store: what each view was last filled with.

They live beside the features, so that they are lost together with them: a marker is what makes a
materialization that is found again true. In Redis a key `windtunnel:materialized:<lifecycle>:<view>`, in
SQLite a table.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from windtunnel.errors import PermanentError, StoreError
from windtunnel.settings import without_credentials

if TYPE_CHECKING:
    from collections.abc import Iterator

    from windtunnel.settings import Settings

TIMEOUT_SECONDS = 5
_TABLE = "CREATE TABLE IF NOT EXISTS windtunnel_materialized (name TEXT PRIMARY KEY, marker TEXT NOT NULL)"


@dataclass(frozen=True)
class Marker:
    """`digest` over the feature files; `end`: the newest day (ISO date) that the view was filled up to."""

    digest: str
    end: str


class Markers(Protocol):
    def read(self, lifecycle: str, view: str) -> Marker | None: ...
    def write(self, lifecycle: str, view: str, marker: Marker) -> None: ...


def open_markers(settings: Settings) -> Markers:
    """Those of the online store that the settings name; faults become StoreError when it is asked."""
    if urlsplit(settings.online_store).scheme == "sqlite":
        return _SqliteMarkers(settings)
    return _RedisMarkers(settings)


class _RedisMarkers:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def _client(self) -> Any:
        import redis

        return redis.Redis.from_url(
            self._settings.online_store,
            password=self._settings.online_store_password or None,
            socket_timeout=TIMEOUT_SECONDS,
            socket_connect_timeout=TIMEOUT_SECONDS,
        )

    def read(self, lifecycle: str, view: str) -> Marker | None:
        with online_faults(self._settings), self._client() as client:
            found = client.get(f"windtunnel:materialized:{lifecycle}:{view}")
        return Marker(**json.loads(found)) if found else None

    def write(self, lifecycle: str, view: str, marker: Marker) -> None:
        with online_faults(self._settings), self._client() as client:
            client.set(f"windtunnel:materialized:{lifecycle}:{view}", json.dumps(asdict(marker)))


class _SqliteMarkers:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @contextlib.contextmanager
    def _table(self) -> Iterator[sqlite3.Connection]:
        path = urlsplit(self._settings.online_store).path
        with online_faults(self._settings), contextlib.closing(sqlite3.connect(path)) as connection:
            connection.execute(_TABLE)
            yield connection
            connection.commit()

    def read(self, lifecycle: str, view: str) -> Marker | None:
        with self._table() as table:
            query = "SELECT marker FROM windtunnel_materialized WHERE name = ?"
            found = table.execute(query, (f"{lifecycle}:{view}",)).fetchone()
        return Marker(**json.loads(found[0])) if found else None

    def write(self, lifecycle: str, view: str, marker: Marker) -> None:
        with self._table() as table:
            query = "INSERT OR REPLACE INTO windtunnel_materialized VALUES (?, ?)"
            table.execute(query, (f"{lifecycle}:{view}", json.dumps(asdict(marker))))


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

"""Feature rows → any online store of Feast, by its own `online_write_batch`.

Bounded batches; a row that is older than what the store holds is left out, an equally old one replaces it.
The store is asked first and written after: two writers at once on the same keys are only safe where the store
itself compares (`redis_writer` does).
"""

from __future__ import annotations

import contextlib
import sqlite3
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from feast.infra.key_encoding_utils import serialize_entity_key
from feast.infra.online_stores.redis import RedisOnlineStoreConfig
from feast.utils import _convert_arrow_to_proto
from redis.exceptions import RedisError

from windtunnel.errors import DataError, StoreError
from windtunnel.features.online.redis_upsert import redis_fault

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pyarrow as pa
    from feast import FeatureView, RepoConfig, ValueType
    from feast.infra.online_stores.online_store import OnlineStore

FeastRow = tuple[Any, dict[str, Any], datetime, datetime | None]
"""(EntityKey message, feature → Value message, event timestamp, created), as Feast hands rows on."""

# Feast makes a protobuf message of every value; SQLite takes at most 32,766 keys in one question.
BATCH_ROWS = 5_000
BATCH_VALUES = 200_000


class GenericWriter:
    """Writes tables that hold the view's join keys, features and timestamps; counts what it does."""

    def __init__(
        self, config: RepoConfig, online_store: OnlineStore, view: FeatureView, keys: Mapping[str, ValueType]
    ) -> None:
        self._config = _uncompared(config)
        self._store = online_store
        self._view = view
        self._keys = dict(keys)
        self._rows = min(BATCH_ROWS, max(1, BATCH_VALUES // max(1, len(view.features))))
        self.written = 0
        self.skipped = 0
        self.bytes_sent = 0

    def write(self, rows: pa.Table) -> None:
        """Raises DataError for values that do not fit their types, StoreError when SQLite or Redis fail."""
        for start in range(0, rows.num_rows, self._rows):
            # One chunk: Feast converts only the first.
            self._write(rows.slice(start, self._rows).combine_chunks())

    def close(self) -> None:
        """Nothing is left to do: every batch was written."""

    def abort(self) -> None:
        """Nothing is held."""

    def _write(self, rows: pa.Table) -> None:
        try:
            data = _convert_arrow_to_proto(rows, self._view, self._keys)
        except (ValueError, TypeError, AssertionError) as error:
            raise DataError(
                f"Feast cannot store these rows: {error}", where=f"view {self._view.name!r}"
            ) from error
        fresh = write_newer(self._store, self._config, self._view, data)
        self.written += len(fresh)
        self.skipped += len(data) - len(fresh)
        self.bytes_sent += sum(value.ByteSize() for row in fresh for value in row[1].values())


def write_newer(
    online_store: OnlineStore, config: RepoConfig, view: FeatureView, rows: Sequence[FeastRow]
) -> list[FeastRow]:
    """Write the newest row of every key (of equally old ones the last) unless the store holds a newer one;
    returns what was written. Raises StoreError when SQLite or Redis fail."""
    newest: dict[bytes, FeastRow] = {}
    for row in rows:
        key = serialize_entity_key(row[0], config.entity_key_serialization_version)
        if key not in newest or _utc(row[2]) >= _utc(newest[key][2]):
            newest[key] = row
    fresh = list(newest.values())
    with _faults():
        stored = online_store.online_read(config, view, [row[0] for row in fresh])
        fresh = [
            row
            for row, (when, _) in zip(fresh, stored, strict=True)
            if when is None or _utc(when) <= _utc(row[2])
        ]
        if fresh:
            online_store.online_write_batch(config, view, fresh, None)
    return fresh


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def _uncompared(config: RepoConfig) -> RepoConfig:
    """Feast's own Redis store compares too, but keeps an equally old row: tell it to leave that to us."""
    online = config.online_store
    if not isinstance(online, RedisOnlineStoreConfig) or online.skip_dedup:
        return config
    copy = config.model_copy()
    copy._online_store = online.model_copy(update={"skip_dedup": True})
    return copy


@contextlib.contextmanager
def _faults() -> Iterator[None]:
    """Faults of SQLite and Redis become ours; what other stores raise passes unchanged."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise StoreError(
            f"the online store failed: {error}",
            where="online store",
            fix="see that its file can be written and its disk is not full",
        ) from error
    except RedisError as error:
        raise redis_fault(error, "online store") from error

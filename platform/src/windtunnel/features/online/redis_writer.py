"""Feature rows → Redis or Valkey, in Feast's own layout and without a loop over rows.

A view with a ttl lets its entities' hashes expire once nothing in them can be read any more: a hash goes
after the longest ttl of the views in it (a day at least), and never while a view without a ttl is in it. A
configured `key_ttl_seconds` takes the place of that rule, as in Feast itself. The exact ttl of a view is the
reader's business.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
from feast.infra.online_stores.helpers import _redis_key, compute_versioned_name
from feast.infra.online_stores.redis import RedisOnlineStore, RedisOnlineStoreConfig
from feast.utils import _validate_vector_field_lengths

from windtunnel.errors import DataError, SpecError
from windtunnel.features.online.byte_columns import join
from windtunnel.features.online.online_layout import NANOS, entity_key_head, feature_field, timestamp_field
from windtunnel.features.online.redis_upsert import Expiry, RedisUpserts
from windtunnel.features.online.value_encoding import (
    encode_key_values,
    encode_timestamps,
    encode_values,
    event_nanos,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from feast import FeatureView, RepoConfig, ValueType

    from windtunnel.features.online.byte_columns import Int64Array
    from windtunnel.features.online.generic_writer import FeastRow

BLOCK_BYTES: Final = 2 * 1024 * 1024
"""How much is encoded at a time, about."""
MIN_EXPIRY_SECONDS: Final = 86_400
_VALUE_BYTES: Final = 20
"""What a value of fixed width takes in a command, about."""


def takes(config: RepoConfig) -> bool:
    """Whether this online store can be written here: a single Redis or Valkey (or its primary), entity keys
    of version 3."""
    online = config.online_store
    return (
        isinstance(online, RedisOnlineStoreConfig)
        and online.redis_type == "redis"
        and config.entity_key_serialization_version == 3
    )


class RedisWriter:
    """Writes tables that hold the view's join keys, features and event timestamp; counts what it does."""

    def __init__(self, config: RepoConfig, view: FeatureView, keys: Mapping[str, ValueType]) -> None:
        """`keys`: type by name of the view's join keys. Connects when there is something to write."""
        self._config = config
        self._view = view
        self._keys = dict(sorted(keys.items()))
        name = compute_versioned_name(view, config.registry.enable_online_feature_view_versioning)
        self._head = entity_key_head(list(self._keys))
        self._project = config.project.encode()
        self._fields = _fields(view, name)
        self._upserts = RedisUpserts(_connection(config.online_store), timestamp_field(name))

    @property
    def written(self) -> int:
        return self._upserts.written

    @property
    def skipped(self) -> int:
        return self._upserts.skipped

    @property
    def bytes_sent(self) -> int:
        return self._upserts.bytes_sent

    def write(self, rows: pa.Table) -> None:
        """Raises DataError for what the view cannot hold, StoreError or PermanentError for the store's
        faults; then write everything again."""
        self._check(rows)
        for batch in rows.to_batches():
            for first, end in _blocks(batch):
                self._write_block(batch.slice(first, end - first))

    def write_messages(self, rows: Sequence[FeastRow]) -> None:
        """Rows as Feast hands them to an online store."""
        if not rows:
            return
        version = self._config.entity_key_serialization_version
        keys = [_redis_key(self._config.project, row[0], version) for row in rows]
        seconds, nanos = _split(row[2] for row in rows)
        values = [
            (field, pa.array([_message(row[1].get(feature)) for row in rows], pa.large_binary()))
            for feature, field in self._fields.items()
        ]
        self._send(pa.array(keys, pa.large_binary()), seconds, nanos, values)

    def close(self) -> None:
        """Wait until the store has answered for everything."""
        self._upserts.finish()

    def abort(self) -> None:
        """Let go of the connection after an error elsewhere."""
        self._upserts.close()

    def _check(self, rows: pa.Table) -> None:
        wanted = [*self._keys, *self._fields, self._view.batch_source.timestamp_field]
        if missing := [name for name in wanted if name not in rows.column_names]:
            raise DataError(
                f"there is no column {', '.join(map(repr, missing))}",
                where=f"view {self._view.name!r}",
                fix=f"its source gives {', '.join(rows.column_names)}",
            )
        try:
            _validate_vector_field_lengths(rows, self._view)
        except ValueError as error:
            raise DataError(str(error), where=f"view {self._view.name!r}") from error

    def _write_block(self, rows: pa.RecordBatch) -> None:
        keys = [encode_key_values(rows[name], kind, name) for name, kind in self._keys.items()]
        timestamp = self._view.batch_source.timestamp_field
        seconds, nanos = event_nanos(rows[timestamp], timestamp)
        values = [
            (self._fields[item.name], encode_values(rows[item.name], item.dtype.to_value_type(), item.name))
            for item in self._view.features
        ]
        self._send(join(self._head, *keys, self._project), seconds, nanos, values)

    def _send(
        self,
        keys: pa.LargeBinaryArray,
        seconds: Int64Array,
        nanos: Int64Array,
        values: list[tuple[bytes, pa.LargeBinaryArray]],
    ) -> None:
        self._upserts.send(
            keys, encode_timestamps(seconds, nanos), values, self._expiry(int(seconds.max(initial=0)))
        )

    def _expiry(self, newest: int) -> Expiry:
        """For rows whose newest event is at `newest` (seconds since 1970)."""
        configured = self._config.online_store.key_ttl_seconds
        if configured:
            return Expiry("set", configured)
        if not self._view.ttl:
            return Expiry("keep")
        # An event that lies ahead of the clock can be read for that much longer.
        ahead = max(0, newest - int(time.time()))
        return Expiry("extend", max(math.ceil(self._view.ttl.total_seconds()), MIN_EXPIRY_SECONDS) + ahead)


def _fields(view: FeatureView, name: str) -> dict[str, bytes]:
    """Redis field by feature. Raises SpecError when two features would share one."""
    fields = {feature.name: feature_field(name, feature.name) for feature in view.features}
    taken: dict[bytes, str] = {}
    for feature, field in fields.items():
        if field in taken:
            raise SpecError(
                f"features {taken[field]!r} and {feature!r} share a field in Redis (a hash of the name)",
                where=f"view {view.name!r}",
                fix="rename one of them",
            )
        taken[field] = feature
    return fields


def _connection(online: RedisOnlineStoreConfig) -> dict[str, Any]:
    """Arguments of redis.Redis, as Feast reads its connection string."""
    nodes, options = RedisOnlineStore._parse_connection_string(online.connection_string)
    return {**options, "host": nodes[0]["host"], "port": int(nodes[0].get("port", 6379))}


def _split(moments: Iterator[datetime]) -> tuple[Int64Array, Int64Array]:
    """Seconds and nanoseconds; a moment without a zone is in UTC."""
    pairs = []
    for moment in moments:
        stamp = pa.scalar(moment, pa.timestamp("us", "UTC")).value
        pairs.append((stamp // 1_000_000, stamp % 1_000_000 * (NANOS // 1_000_000)))
    split = np.array(pairs, np.int64).reshape(-1, 2)
    return split[:, 0].copy(), split[:, 1].copy()


def _message(value: Any) -> bytes:
    return value.SerializeToString() if value is not None else b""


def _blocks(rows: pa.RecordBatch) -> Iterator[tuple[int, int]]:
    """(first row, row after the last) of parts that take about BLOCK_BYTES."""
    ends = np.cumsum(_row_bytes(rows))
    first = 0
    while first < rows.num_rows:
        before = ends[first - 1] if first else 0
        end = max(int(np.searchsorted(ends, before + BLOCK_BYTES, "right")), first + 1)
        yield first, end
        first = end


def _row_bytes(rows: pa.RecordBatch) -> Int64Array:
    sizes = np.full(rows.num_rows, _VALUE_BYTES * (rows.num_columns + 2), np.int64)
    for column in rows.columns:
        sizes += _extra_bytes(column)
    return sizes


def _extra_bytes(column: pa.Array) -> Int64Array:
    """Of strings and lists; nested types by their average."""
    rows = len(column)
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_string_view(column.type) or pa.types.is_binary_view(column.type):
        column = column.cast(pa.large_binary())
    if isinstance(column, pa.StringArray | pa.BinaryArray | pa.LargeStringArray | pa.LargeBinaryArray):
        width = np.int64 if isinstance(column, pa.LargeStringArray | pa.LargeBinaryArray) else np.int32
        size = np.dtype(width).itemsize
        offsets = np.frombuffer(column.buffers()[1], width, rows + 1, column.offset * size)
        lengths: Int64Array = np.diff(offsets).astype(np.int64)
        return lengths
    if isinstance(column, pa.ListArray | pa.LargeListArray):
        offsets = column.offsets.to_numpy().astype(np.int64)
        average = -(-column.values.nbytes // max(1, len(column.values)))
        sizes: Int64Array = np.diff(offsets) * (average + 2)
        return sizes
    if pa.types.is_nested(column.type):
        return np.full(rows, -(-column.nbytes // max(1, rows)) * 2, np.int64)
    return np.zeros(rows, np.int64)

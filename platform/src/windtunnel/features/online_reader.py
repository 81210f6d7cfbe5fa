"""Reads online features in Feast's own Redis layout, without Feast.

Feast keeps one hash per entity and project: its key is the serialized entity key (version 3) followed by the
project's name; its fields are `_ts:<view>` (a Timestamp message) and murmur3(`<view>:<feature>`) (a Value
message). Views with the same join keys share a hash. Checked against the Feast SDK by tests. Unlike Feast's
own online read, a view's ttl is honoured: what would be too old for a training set is too old for an answer.
"""

from __future__ import annotations

import math
import struct
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import mmh3
import numpy as np

from windtunnel.errors import DataError, PermanentError, StoreError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FloatArray = np.ndarray[Any, np.dtype[np.float64]]
EntityValue = str | int

_VALUE_TYPES: Final = {"STRING": 2, "INT32": 3, "INT64": 4}
"""feast.types.ValueType.Enum of the types that join keys may have."""


@dataclass(frozen=True)
class OnlineView:
    """A feature view as the bundle's manifest describes it."""

    name: str
    join_keys: Mapping[str, str]
    """Join key → Feast type."""
    features: tuple[str, ...]
    """Only those that the model uses."""
    ttl_seconds: float = 0.0
    """Features older than this are missing; 0 means that they never age."""


@dataclass(frozen=True)
class OnlineFeatures:
    """One read."""

    values: FloatArray
    """[rows, columns]; NaN where the entity is unknown, the feature is null, or it is too old."""
    stale: int
    """How many values are missing because they are too old."""


class RedisClient(Protocol):
    """What the reader needs of a `redis.asyncio.Redis` that does not decode responses."""

    def pipeline(self, transaction: bool = True) -> Any: ...


@dataclass(frozen=True)
class _Group:
    """Views that share a hash, and the fields to ask for in one command."""

    join_keys: tuple[tuple[str, str], ...]
    """(name, Feast type), sorted by name as in the serialized entity key."""
    head: bytes
    fields: tuple[bytes, ...]
    views: tuple[tuple[int, float, tuple[tuple[int, int], ...]], ...]
    """Per view: position of its timestamp in `fields`, ttl, and (position in `fields`, column) of each
    feature."""


class OnlineReader:
    """Reads the features of some views for a batch of entities, in one round trip.

    `columns` gives the order of the answer as (view, feature) pairs. Raises PermanentError when they don't
    fit the views.
    """

    def __init__(
        self,
        client: RedisClient,
        project: str,
        views: Sequence[OnlineView],
        columns: Sequence[tuple[str, str]],
    ) -> None:
        self._client = client
        self._project = project.encode()
        self._width = len(columns)
        self._groups = _groups(views, {column: position for position, column in enumerate(columns)})

    async def read(
        self, entities: Mapping[str, Sequence[EntityValue]], now: float | None = None
    ) -> OnlineFeatures:
        """The features that are not older than their ttl at `now` (seconds since 1970; default: the clock's).

        `entities` maps every join key to one value per row. Raises StoreError when the store does not answer
        and DataError when it holds something that is no number.
        """
        rows = len(next(iter(entities.values()))) if entities else 0
        result = np.full((rows, self._width), np.nan)
        now = time.time() if now is None else now
        pipeline = self._client.pipeline(transaction=False)
        asked: list[tuple[_Group, list[int]]] = []
        for group in self._groups:
            for key, at in self._keys(group, entities, rows).items():
                pipeline.hmget(key, group.fields)
                asked.append((group, at))
        try:
            answers = await pipeline.execute()
        except Exception as error:
            raise StoreError(
                f"the online store did not answer: {error or type(error).__name__}",
                where="online store",
                fix="try again, or send the feature vector",
            ) from error
        stale = 0
        for (group, at), values in zip(asked, answers, strict=True):
            stale += _fill(result, group, at, values, now)
        return OnlineFeatures(result, stale)

    def _keys(
        self, group: _Group, entities: Mapping[str, Sequence[EntityValue]], rows: int
    ) -> dict[bytes, list[int]]:
        """Hash key → rows that ask for it; an entity asked for twice is read once."""
        keys: dict[bytes, list[int]] = {}
        columns = [(entities[name], kind) for name, kind in group.join_keys]
        for row in range(rows):
            values = b"".join(_entity_value(column[row], kind) for column, kind in columns)
            keys.setdefault(b"".join((group.head, values, self._project)), []).append(row)
        return keys


def entity_key_head(join_keys: Sequence[str]) -> bytes:
    """The part of a serialized entity key that only depends on the (sorted) names of the join keys."""
    parts = [struct.pack("<I", len(join_keys))]
    for name in join_keys:
        encoded = name.encode()
        parts.append(struct.pack("<II", _VALUE_TYPES["STRING"], len(encoded)) + encoded)
    return b"".join(parts)


def feature_field(view: str, feature: str) -> bytes:
    """The field of a feature in its entity's hash."""
    return struct.pack("<I", mmh3.hash(f"{view}:{feature}", signed=False))


def decode_value(value: bytes | None) -> float:
    """A feast Value message as a float; NaN for absent, empty and null. Raises DataError for what is no
    number."""
    if not value:
        return math.nan
    tag = value[0]
    try:
        if tag == 0x29:  # double_val
            return float(struct.unpack_from("<d", value, 1)[0])
        if tag == 0x35:  # float_val
            return float(struct.unpack_from("<f", value, 1)[0])
        if tag in (0x18, 0x20, 0x38, 0x40):  # int32_val, int64_val, bool_val, unix_timestamp_val
            return float(_signed(_varint(value, 1)[0]))
        if value[:2] == b"\x98\x01":  # null_val
            return math.nan
    except (struct.error, IndexError) as error:
        raise DataError("a feature's value is cut short", where="online store") from error
    raise DataError(
        f"a feature's value is no number (message {value[:4].hex()})",
        where="online store",
        fix="declare it as Float64",
    )


def decode_timestamp(value: bytes) -> float:
    """A protobuf Timestamp as seconds since 1970 (whole seconds; ttl needs no finer). Raises DataError."""
    try:
        return float(_signed(_varint(value, 1)[0])) if value[:1] == b"\x08" else 0.0
    except IndexError as error:
        raise DataError("a view's timestamp is cut short", where="online store") from error


def _fill(
    result: FloatArray, group: _Group, rows: list[int], values: Sequence[bytes | None], now: float
) -> int:
    """Write what one hash holds to its rows; returns the number of values that are too old."""
    stale = 0
    for position, ttl, features in group.views:
        stamp = values[position]
        if stamp is None:
            continue
        if ttl and decode_timestamp(stamp) < now - ttl:
            stale += len(rows) * len(features)
            continue
        for at, column in features:
            result[rows, column] = decode_value(values[at])
    return stale


def _groups(views: Sequence[OnlineView], columns: Mapping[tuple[str, str], int]) -> tuple[_Group, ...]:
    offered = {(view.name, feature) for view in views for feature in view.features}
    if unknown := sorted(columns.keys() - offered):
        raise PermanentError(
            f"no view offers {', '.join(f'{view}:{feature}' for view, feature in unknown)}", where="bundle"
        )
    by_keys: dict[tuple[tuple[str, str], ...], list[OnlineView]] = {}
    for view in views:
        by_keys.setdefault(tuple(sorted(view.join_keys.items())), []).append(view)
    groups = []
    for join_keys, members in by_keys.items():
        fields: list[bytes] = []
        described = []
        for view in members:
            stamp = len(fields)
            fields.append(f"_ts:{view.name}".encode())
            used = []
            for feature in view.features:
                if (view.name, feature) in columns:
                    used.append((len(fields), columns[view.name, feature]))
                    fields.append(feature_field(view.name, feature))
            described.append((stamp, view.ttl_seconds, tuple(used)))
        head = entity_key_head([name for name, _ in join_keys])
        groups.append(_Group(join_keys, head, tuple(fields), tuple(described)))
    return tuple(groups)


def _entity_value(value: EntityValue, kind: str) -> bytes:
    """One value of a serialized entity key: type, length, bytes."""
    if kind == "STRING":
        encoded = str(value).encode()
    else:
        encoded = struct.pack("<q" if kind == "INT64" else "<i", value)
    return struct.pack("<II", _VALUE_TYPES[kind], len(encoded)) + encoded


def _varint(value: bytes, position: int) -> tuple[int, int]:
    """(number, position after it)."""
    number = shift = 0
    while True:
        byte = value[position]
        number |= (byte & 0x7F) << shift
        position += 1
        if byte < 0x80:
            return number, position
        shift += 7


def _signed(number: int) -> int:
    return number - (1 << 64) if number >= 1 << 63 else number

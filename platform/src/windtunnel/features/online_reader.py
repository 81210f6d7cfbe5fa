"""Reads online features in Feast's own Redis layout, without Feast.

Feast keeps one hash per entity and project: its key is the serialized entity key (version 3) followed by the
project's name; its fields are `_ts:<view>` (a Timestamp message) and murmur3(`<view>:<feature>`) (a Value
message). Views with the same join keys share a hash. Checked against the Feast SDK by tests. Unlike Feast's
own online read, a view's ttl is honoured: what would be too old for a training set is too old for an answer.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from windtunnel.errors import PermanentError, StoreError
from windtunnel.features.online_layout import (
    NANOS,
    decode_timestamp,
    decode_value,
    entity_key_head,
    entity_value,
    feature_field,
    timestamp_field,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FloatArray = np.ndarray[Any, np.dtype[np.float64]]
EntityValue = str | int


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
            values = b"".join(entity_value(column[row], kind) for column, kind in columns)
            keys.setdefault(b"".join((group.head, values, self._project)), []).append(row)
        return keys


def _fill(
    result: FloatArray, group: _Group, rows: list[int], values: Sequence[bytes | None], now: float
) -> int:
    """Write what one hash holds to its rows; returns the number of values that are too old."""
    stale = 0
    for position, ttl, features in group.views:
        stamp = values[position]
        if stamp is None:
            continue
        if ttl and decode_timestamp(stamp) < (now - ttl) * NANOS:
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
            fields.append(timestamp_field(view.name))
            used = []
            for feature in view.features:
                if (view.name, feature) in columns:
                    used.append((len(fields), columns[view.name, feature]))
                    fields.append(feature_field(view.name, feature))
            described.append((stamp, view.ttl_seconds, tuple(used)))
        head = entity_key_head([name for name, _ in join_keys])
        groups.append(_Group(join_keys, head, tuple(fields), tuple(described)))
    return tuple(groups)

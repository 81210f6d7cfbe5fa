"""Reads online features in Feast's own Redis layout, without Feast.

One pipelined read for all views of a feature service. Unlike Feast's own online read, a view's ttl is
honoured: what would be too old for a training set is too old for an answer, to the nanosecond and with the
edge included, as in the point-in-time join.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

import numpy as np

from windtunnel.errors import PermanentError, RequestError
from windtunnel.features.online.hash_group import HashGroup, OnlineView
from windtunnel.features.online.online_layout import entity_value
from windtunnel.features.online.value_decoding import decode_few, decode_values

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from windtunnel.features.online.hash_group import Hash

FloatArray = np.ndarray[Any, np.dtype[np.float64]]
IntArray = np.ndarray[Any, np.dtype[np.int32]]
EntityValue = str | int
__all__ = ["Gaps", "OnlineFeatures", "OnlineReader", "OnlineView", "RedisClient"]

_ROWS_AT_ONCE: Final = 128
"""Rows of a large batch that are asked for together: the loop and the store see to others in between."""


class RedisClient(Protocol):
    """What the reader needs of a connection."""

    async def ask(self, commands: bytes, count: int) -> list[Any]:
        """The answers to `count` encoded commands. Raises StoreError."""


class Gaps(NamedTuple):
    """Values that the store did not give."""

    missing: IntArray
    """[rows]"""
    stale: IntArray
    """[rows]; those that were too old."""


class OnlineFeatures(NamedTuple):
    """One read."""

    values: FloatArray
    """[rows, columns]; the feature's default, or NaN, where the entity is unknown, the feature is null, or
    it is too old."""
    missing: int
    """How many values the store did not give, whether or not a default stands in."""
    stale: int
    """How many of those because they are too old."""
    by_row: Gaps | None = None
    """Both for each row, where there are several."""


@dataclass(frozen=True)
class _Part:
    """Some rows of a large batch, being read."""

    rows: slice
    asked: list[tuple[HashGroup, list[int], int]]
    """Per group: which of its hashes each row wants, and how many hashes it asked for."""
    answers: asyncio.Task[list[Hash]]


class OnlineReader:
    """Reads the features of some views for a batch of entities.

    `columns` gives the order of the answer as (view, feature) pairs, `defaults` what stands in for a missing
    one. Raises PermanentError when they don't fit the views.
    """

    def __init__(
        self,
        client: RedisClient,
        project: str,
        views: Sequence[OnlineView],
        columns: Sequence[tuple[str, str]],
        defaults: Mapping[tuple[str, str], float] | None = None,
    ) -> None:
        defaults = defaults or {}
        _check_offered(views, (*columns, *defaults))
        self._client = client
        self._keys = tuple({key: None for view in views for key in view.join_keys.items()})
        places = {key: at for at, key in enumerate(self._keys)}
        self._groups = _groups(project, views, {column: at for at, column in enumerate(columns)}, places)
        self._columns = [column for group in self._groups for column in group.columns]
        self._defaults = [float(defaults.get(column, np.nan)) for column in columns]

    async def read(
        self, entities: Mapping[str, Sequence[EntityValue]], now: float | None = None
    ) -> OnlineFeatures:
        """The features that are not older than their ttl at `now` (seconds since 1970, exact to the
        microsecond; default: the clock's).

        `entities` maps every join key to one value per row. Raises StoreError when the store does not answer,
        DataError when it holds something that is no number, RequestError for an entity that no key can name.
        """
        now_ns = time.time_ns() if now is None else round(now * 1e6) * 1000
        rows = len(next(iter(entities.values()))) if entities else 0
        return await (self._one(entities, now_ns) if rows == 1 else self._many(entities, rows, now_ns))

    async def _one(self, entities: Mapping[str, Sequence[EntityValue]], now: int) -> OnlineFeatures:
        """One row, without the machinery for many."""
        groups = self._groups
        try:
            values = [entity_value(entities[name][0], kind) for name, kind in self._keys]
        except ValueError as error:
            raise self._unfit(error) from error
        commands = b"".join([group.command(group.name(values)) for group in groups])
        answers = await self._client.ask(commands, len(groups))
        found: Hash = []
        stale = 0
        for group, answer in zip(groups, answers, strict=True):
            stale += group.take(answer, now, found)
        row = self._defaults.copy()
        missing = 0
        for column, number in zip(self._columns, decode_few(found), strict=True):
            if number == number:
                row[column] = number
            else:
                missing += 1
        return OnlineFeatures(np.array([row]), missing, stale)

    async def _many(
        self, entities: Mapping[str, Sequence[EntityValue]], rows: int, now: int
    ) -> OnlineFeatures:
        """Part by part; the store reads the next one while this one is decoded."""
        values = np.tile(np.array(self._defaults), (rows, 1))
        gaps = Gaps(np.zeros(rows, np.int32), np.zeros(rows, np.int32))
        parts: deque[_Part] = deque()
        try:
            for begin in range(0, rows, _ROWS_AT_ONCE):
                parts.append(self._ask(entities, slice(begin, min(begin + _ROWS_AT_ONCE, rows))))
                if len(parts) > 1:
                    await self._take(parts, values, gaps, now)
            while parts:
                await self._take(parts, values, gaps, now)
        finally:
            for part in parts:
                part.answers.cancel()
            await asyncio.gather(*(part.answers for part in parts), return_exceptions=True)
        return OnlineFeatures(values, int(gaps.missing.sum()), int(gaps.stale.sum()), gaps)

    def _ask(self, entities: Mapping[str, Sequence[EntityValue]], rows: slice) -> _Part:
        """Begin to read some rows; an entity that several of them want is read once."""
        try:
            columns = [[entity_value(one, kind) for one in entities[name][rows]] for name, kind in self._keys]
        except ValueError as error:
            raise self._unfit(error) from error
        commands: list[bytes] = []
        asked = []
        for group in self._groups:
            hashes: dict[bytes, int] = {}
            wanted = [hashes.setdefault(name, len(hashes)) for name in group.names(columns)]
            commands += map(group.command, hashes)
            asked.append((group, wanted, len(hashes)))
        answers = self._client.ask(b"".join(commands), len(commands))
        return _Part(rows, asked, asyncio.create_task(answers))

    async def _take(self, parts: deque[_Part], values: FloatArray, gaps: Gaps, now: int) -> None:
        """Write the first part's answers to its rows."""
        part = parts[0]
        answers = await part.answers
        parts.popleft()
        begin = 0
        rows = values[part.rows]
        for group, wanted, hashes in part.asked:
            found: Hash = []
            too_old = [group.take(answer, now, found) for answer in answers[begin : begin + hashes]]
            begin += hashes
            numbers = decode_values(found).reshape(hashes, len(group.columns))[wanted]
            absent = np.isnan(numbers)
            rows[:, group.columns] = np.where(absent, rows[:, group.columns], numbers)
            gaps.missing[part.rows] += absent.sum(axis=1, dtype=np.int32)
            gaps.stale[part.rows] += np.array(too_old, np.int32)[wanted]

    def _unfit(self, error: ValueError) -> RequestError:
        return RequestError(
            f"no entity can have this join key: {str(error)[:200]}",
            where="entities",
            fix=f"send {', '.join(f'{name} as {kind}' for name, kind in self._keys)}",
        )


def _check_offered(views: Sequence[OnlineView], wanted: Iterable[tuple[str, str]]) -> None:
    offered = {(view.name, feature) for view in views for feature in view.features}
    if unknown := sorted(set(wanted) - offered):
        raise PermanentError(
            f"no view offers {', '.join(f'{view}:{feature}' for view, feature in unknown)}", where="bundle"
        )


def _groups(
    project: str,
    views: Sequence[OnlineView],
    columns: Mapping[tuple[str, str], int],
    keys: Mapping[tuple[str, str], int],
) -> tuple[HashGroup, ...]:
    by_keys: dict[tuple[tuple[str, str], ...], list[OnlineView]] = {}
    for view in views:
        by_keys.setdefault(tuple(sorted(view.join_keys.items())), []).append(view)
    return tuple(HashGroup(project, members, columns, keys) for members in by_keys.values())

"""The views that share a hash: which command reads them for an entity, and what its answer means."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from windtunnel.errors import RequestError
from windtunnel.features.online_layout import (
    decode_timestamp,
    entity_key_head,
    entity_value,
    feature_field,
    timestamp_field,
)
from windtunnel.features.redis_connection import Hmget
from windtunnel.features.value_decoding import decode_few, decode_values

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

FloatArray = np.ndarray[Any, np.dtype[np.float64]]
IntArray = np.ndarray[Any, np.dtype[np.intp]]
EntityValue = str | int
Hash = list[bytes | None]
"""What a hash holds of the fields that were asked for."""

# Feature rows of a day share their timestamp, so most have been decoded before.
_nanoseconds: Final = lru_cache(maxsize=4096)(decode_timestamp)


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


class _Member(NamedTuple):
    """A view's place in the answer."""

    stamp: int
    """Position of its event timestamp."""
    ttl: int
    """Nanoseconds; 0 means for ever."""
    begin: int
    """Position of its first feature; the others follow."""
    columns: tuple[int, ...]
    """Column of each feature."""


_ABSENT, _STALE, _FRESH = range(3)


class HashGroup:
    """Views with the same join keys; `columns` gives each (view, feature) that is read its column."""

    def __init__(
        self, project: str, views: Sequence[OnlineView], columns: Mapping[tuple[str, str], int]
    ) -> None:
        self._keys = sorted(views[0].join_keys.items())
        self._head = entity_key_head([name for name, _ in self._keys])
        self._project = project.encode()
        fields = [timestamp_field(view.name) for view in views]
        self._first = len(fields)
        members = []
        for stamp, view in enumerate(views):
            used = [feature for feature in view.features if (view.name, feature) in columns]
            members.append(
                _Member(
                    stamp=stamp,
                    ttl=round(view.ttl_seconds * 1e6) * 1000,
                    begin=len(fields),
                    columns=tuple(columns[view.name, feature] for feature in used),
                )
            )
            fields += [feature_field(view.name, feature) for feature in used]
        self._members = tuple(members)
        self._command = Hmget(fields).of
        self.columns = np.array([column for member in members for column in member.columns], dtype=np.intp)
        """Column of each feature, in the order of `decode`."""

    def names(self, entities: Mapping[str, Sequence[EntityValue]], rows: slice) -> list[bytes]:
        """What tells the hash of each row from the others: its serialized join keys. Raises RequestError for
        a value that its join key cannot have."""
        try:
            columns = [
                [entity_value(value, kind) for value in entities[name][rows]] for name, kind in self._keys
            ]
        except ValueError as error:
            raise self._unfit(error) from error
        return (
            columns[0] if len(columns) == 1 else [b"".join(values) for values in zip(*columns, strict=True)]
        )

    def first_name(self, entities: Mapping[str, Sequence[EntityValue]]) -> bytes:
        """That of the first row. Raises RequestError."""
        try:
            return b"".join([entity_value(entities[name][0], kind) for name, kind in self._keys])
        except ValueError as error:
            raise self._unfit(error) from error

    def _unfit(self, error: ValueError) -> RequestError:
        return RequestError(
            f"no entity can have this join key: {str(error)[:200]}",
            where="entities",
            fix=f"send {', '.join(f'{name} as {kind}' for name, kind in self._keys)}",
        )

    def command(self, name: bytes) -> bytes:
        """What to ask for the hash of that name."""
        return self._command(b"%b%b%b" % (self._head, name, self._project))

    def fill(self, found: Hash, now: int, row: list[float]) -> tuple[int, int]:
        """Put what one hash holds into a row; what it does not hold stays as it is. Returns how many values
        are missing, and how many of them because they are too old. Raises DataError."""
        missing = stale = 0
        for stamp, ttl, begin, columns in self._members:
            age = _age(found[stamp], ttl, now)
            if age != _FRESH:
                missing += len(columns)
                stale += len(columns) if age == _STALE else 0
                continue
            for column, number in zip(columns, decode_few(found[begin : begin + len(columns)]), strict=True):
                if number == number:
                    row[column] = number
                else:
                    missing += 1
        return missing, stale

    def decode(self, answers: Iterable[Hash], now: int) -> tuple[FloatArray, IntArray]:
        """[hashes, features] with NaN for what is missing, and how many of each hash are too old. Raises
        DataError."""
        found = [list(answer) for answer in answers]
        stale = np.zeros(len(found), dtype=np.intp)
        for position, values in enumerate(found):
            for member in self._members:
                age = _age(values[member.stamp], member.ttl, now)
                if age != _FRESH:
                    width = len(member.columns)
                    values[member.begin : member.begin + width] = [None] * width
                    stale[position] += width if age == _STALE else 0
        flat = list(chain.from_iterable(values[self._first :] for values in found))
        return decode_values(flat).reshape(len(found), len(self.columns)), stale


def _age(stamp: bytes | None, ttl: int, now: int) -> int:
    """An event exactly `ttl` ago is still fresh, as in the point-in-time join."""
    if stamp is None:
        return _ABSENT
    return _STALE if ttl and _nanoseconds(stamp) < now - ttl else _FRESH

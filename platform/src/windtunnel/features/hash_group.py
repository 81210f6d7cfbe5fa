"""The views that share a hash: which command reads them for an entity, and what its answer means."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from windtunnel.features.online_layout import (
    decode_timestamp,
    entity_key_head,
    feature_field,
    timestamp_field,
)
from windtunnel.features.redis_connection import Hmget
from windtunnel.features.value_decoding import decode_few, decode_values

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

FloatArray = np.ndarray[Any, np.dtype[np.float64]]
IntArray = np.ndarray[Any, np.dtype[np.intp]]
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
    """Views with the same join keys. `columns` gives each (view, feature) that is read its column, `keys` the
    place of each join key and type among those that callers serialize."""

    def __init__(
        self,
        project: str,
        views: Sequence[OnlineView],
        columns: Mapping[tuple[str, str], int],
        keys: Mapping[tuple[str, str], int],
    ) -> None:
        own = sorted(views[0].join_keys.items())
        self._keys = tuple(keys[key] for key in own)
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
        self.command = Hmget(fields, entity_key_head([name for name, _ in own]), project.encode()).of
        """What to ask for the hash of a name."""
        self.columns = np.array([column for member in members for column in member.columns], dtype=np.intp)
        """Column of each feature, in the order of `decode`."""

    def name(self, values: Sequence[bytes]) -> bytes:
        """What tells a hash of these views from the others: the serialized values of its join keys, picked
        from one row's."""
        return b"".join([values[key] for key in self._keys])

    def names(self, columns: Sequence[list[bytes]]) -> list[bytes]:
        """The same for many rows, of which each column has the values of one join key."""
        if len(self._keys) == 1:
            return columns[self._keys[0]]
        rows = zip(*(columns[key] for key in self._keys), strict=True)
        return [b"".join(values) for values in rows]

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

"""The views that share a hash: which command reads them for an entity, and what its answer means."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from windtunnel.features.online.online_layout import (
    decode_timestamp,
    entity_key_head,
    feature_field,
    timestamp_field,
)
from windtunnel.features.online.redis_connection import Hmget

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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
    end: int
    """Positions of its features."""


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
        members = []
        placed: list[int] = []
        for stamp, view in enumerate(views):
            used = [feature for feature in view.features if (view.name, feature) in columns]
            begin, end = len(fields), len(fields) + len(used)
            members.append(_Member(stamp, round(view.ttl_seconds * 1e6) * 1000, begin, end))
            fields += [feature_field(view.name, feature) for feature in used]
            placed += [columns[view.name, feature] for feature in used]
        self._members = tuple(members)
        self.columns = placed
        """Column of each feature, in the order of `take`."""
        self.command = Hmget(fields, entity_key_head([name for name, _ in own]), project.encode()).of
        """What to ask for the hash of a name."""

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

    def take(self, found: Hash, now: int, values: Hash) -> int:
        """Append what one hash holds of each feature, None for what is absent or too old; returns how many
        are too old. An event exactly `ttl` ago is not, as in the point-in-time join. Raises DataError."""
        stale = 0
        for stamp, ttl, begin, end in self._members:
            seen = found[stamp]
            if seen is None:
                values += [None] * (end - begin)
            elif ttl and _nanoseconds(seen) < now - ttl:
                values += [None] * (end - begin)
                stale += end - begin
            else:
                values += found[begin:end]
        return stale

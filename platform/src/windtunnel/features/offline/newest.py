"""The newest feature row of each entity, in pieces that fit into memory.

The rows are read twice: keys and timestamps tell which rows are the newest, then those are picked out of all
columns in the order in which they are stored. So memory follows neither the number of entities nor how wide
or how many their rows are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from windtunnel.errors import DataError
from windtunnel.features.offline.chunks import chunks
from windtunnel.features.offline.join_keys import as_key, common_key_type
from windtunnel.features.offline.moments import finest_unit, to_integer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    import numpy.typing as npt

    from windtunnel.features.offline.as_of_join import FeatureRows

# Values held at once, of some 8 bytes each; sorting takes a multiple of it.
CELLS = 1_000_000
_AT = "windtunnel_position"


def newest(
    view: FeatureRows, first: datetime | None, last: datetime | None, cells: int = CELLS
) -> Iterator[pl.DataFrame]:
    """The row of each entity with the largest event timestamp in [first, last], then the largest created,
    then the last in storage order; at least one frame, with the columns of `view.columns()`, in that order.

    A row with a null or NaN key belongs to no entity and is left out. When there are more entities than fit
    into memory (`cells` values), they are divided by a hash of the key, and the keys are read once for each
    part. Raises DataError when the rows change meanwhile.
    """
    wanted = _Wanted(view, view.within(first, last))
    parts = [_Part(0, 0)]
    while parts:
        part = parts.pop()
        parts += wanted.find(part, cells)
    none = True
    for rows in wanted.pick(cells):
        if rows.height:
            none = False
            yield rows
    if none:
        yield pl.DataFrame(schema=view.schema())


class _Wanted:
    """Positions of the newest rows among those that are `inside` the window of time."""

    def __init__(self, view: FeatureRows, inside: pl.Expr) -> None:
        self._view = view
        self._inside = inside
        # What tells the newest row of an entity; a column may serve twice.
        self._compared = list(dict.fromkeys([*view.keys.values(), *_stamps(view)]))
        self._mask: npt.NDArray[np.bool_] = np.zeros(0, np.bool_)
        self._seal = 0

    def find(self, part: _Part, cells: int) -> list[_Part]:
        """Add the newest rows of a part; returns the parts of it that there was no room for."""
        view, left, position = self._view, [], 0
        found = _Newest(view, self._compared)
        width = len(self._compared) + 1
        for chunk in chunks(view.rows.select(self._compared).filter(self._inside), max(1, cells // 4)):
            at = pl.int_range(position, position + chunk.rows.height, dtype=pl.Int64, eager=True).alias(_AT)
            position += chunk.rows.height
            found.add(part.of(view, chunk.rows.with_columns(at)))
            if found.height * width > cells:
                found.fold()
            while found.height > 1 and found.height * width > cells:
                # No room for all: the other half of the entities is looked for later.
                part, other = part.halves()
                left.append(other)
                found.keep(part)
        rows = found.fold()
        if position > len(self._mask):
            self._mask = np.concatenate([self._mask, np.zeros(position - len(self._mask), np.bool_)])
        self._mask[rows[_AT].to_numpy()] = True
        self._seal = (self._seal + _seal(rows.drop(_AT))) % 2**64
        return left

    def pick(self, cells: int) -> Iterator[pl.DataFrame]:
        """The rows with all their columns, as they are stored."""
        position = seal = 0
        for chunk in chunks(self._view.rows.select(self._view.columns()).filter(self._inside), cells):
            mask = self._mask[position : position + chunk.rows.height]
            position += chunk.rows.height
            if position > len(self._mask):
                break
            rows = chunk.rows if mask.all() else chunk.rows.filter(pl.Series(mask))
            seal = (seal + _seal(rows.select(self._compared))) % 2**64
            yield rows
        if position != len(self._mask) or seal != self._seal:
            raise DataError(
                "the rows changed while they were read", where=self._view.name, fix="read them again"
            )


class _Newest:
    """The newest row of each entity among those that were added, in storage order."""

    def __init__(self, view: FeatureRows, compared: list[str]) -> None:
        self._view = view
        types = {name: view.schema()[name] for name in compared}
        self._rows = [pl.DataFrame(schema=types | {_AT: pl.Int64()})]
        self._folded = 0

    @property
    def height(self) -> int:
        return sum(rows.height for rows in self._rows)

    def add(self, rows: pl.DataFrame) -> None:
        self._rows.append(rows)

    def keep(self, part: _Part) -> None:
        self._rows = [part.of(self._view, rows) for rows in self._rows]

    def fold(self) -> pl.DataFrame:
        if len(self._rows) > 1 or self._folded != self.height:
            self._rows = [_newest_of(self._view, pl.concat(self._rows, rechunk=True))]
            self._folded = self.height
        return self._rows[0]


class _Part:
    """The entities whose hash ends in certain bits."""

    def __init__(self, bits: int, ending: int) -> None:
        self._bits = bits
        self._ending = ending

    def halves(self) -> tuple[_Part, _Part]:
        return _Part(self._bits + 1, self._ending), _Part(self._bits + 1, self._ending | 1 << self._bits)

    def of(self, view: FeatureRows, rows: pl.DataFrame) -> pl.DataFrame:
        if not self._bits or not view.keys:
            return rows
        hashed = pl.DataFrame(_keys(view, rows)).hash_rows(seed=1)
        return rows.filter(hashed % (1 << self._bits) == self._ending)


def _seal(rows: pl.DataFrame) -> int:
    """The same for the same rows in any order."""
    return int(rows.hash_rows(seed=2).to_numpy().sum(dtype=np.uint64)) if rows.height else 0


def _keys(view: FeatureRows, rows: pl.DataFrame) -> dict[str, pl.Series]:
    """The join keys as `k0`, `k1`, … in the form in which they are compared."""
    return {f"k{number}": _key(rows[name]) for number, name in enumerate(view.keys.values())}


def _key(column: pl.Series) -> pl.Series:
    dtype = common_key_type(column.dtype, column.dtype)
    return column if dtype is None else as_key(column, dtype)


def _newest_of(view: FeatureRows, rows: pl.DataFrame) -> pl.DataFrame:
    """The newest of rows that are in storage order, in that order."""
    unit = finest_unit(dtype for name, dtype in rows.schema.items() if name in _stamps(view))
    keys = _keys(view, rows)
    stamps = {f"t{number}": to_integer(rows[name], unit) for number, name in enumerate(_stamps(view))}
    order = pl.DataFrame(keys | stamps).with_row_index("found").drop_nulls([*keys, "t0"])
    if len(stamps) > 1 or not order["t0"].is_sorted():
        order = order.sort(list(stamps), nulls_last=False, maintain_order=True)
    last = order.unique(list(keys), keep="last", maintain_order=True) if keys else order.tail(1)
    return rows[last["found"].sort()]


def _stamps(view: FeatureRows) -> list[str]:
    return [view.event_timestamp, view.created] if view.created else [view.event_timestamp]

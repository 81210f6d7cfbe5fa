"""The newest feature row of each entity, in pieces that fit into memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from windtunnel.features.chunks import CELLS, chunks
from windtunnel.features.join_keys import as_key, common_key_type
from windtunnel.features.moments import finest_unit, to_integer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from windtunnel.features.as_of_join import FeatureRows


def newest(
    view: FeatureRows, first: datetime | None, last: datetime | None, cells: int = CELLS
) -> Iterator[pl.DataFrame]:
    """The row of each entity with the largest event timestamp in [first, last], then the largest created,
    then the last in storage order; at least one frame, with the columns of `view.columns()`.

    A row with a null or NaN key belongs to no entity and is left out. When there are more entities than fit
    into memory (`cells` values), they are divided by a hash of the key, and the rows are read once for each
    part.
    """
    parts = [_Part(0, 0)]
    while parts:
        part = parts.pop()
        rows = pl.DataFrame(schema=view.schema())
        for chunk in _between(view, first, last, cells):
            rows = _newest_of(view, rows, part.of(view, chunk))
            while rows.height > 1 and rows.height * rows.width > cells:
                # No room for all: the other half of the entities is read again later.
                part, other = part.halves()
                parts.append(other)
                rows = part.of(view, rows)
        yield rows


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


def _between(
    view: FeatureRows, first: datetime | None, last: datetime | None, cells: int
) -> Iterator[pl.DataFrame]:
    for chunk in chunks(view.rows.select(view.columns()).filter(view.within(first, last)), cells):
        yield chunk.rows


def _keys(view: FeatureRows, rows: pl.DataFrame) -> dict[str, pl.Series]:
    """The join keys as `k0`, `k1`, … in the form in which they are compared."""
    return {f"k{number}": _key(rows[name]) for number, name in enumerate(view.keys.values())}


def _key(column: pl.Series) -> pl.Series:
    dtype = common_key_type(column.dtype, column.dtype)
    return column if dtype is None else as_key(column, dtype)


def _newest_of(view: FeatureRows, older: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
    """The newest of both; `rows` come later in storage order."""
    both = pl.concat([older, rows]) if older.height else rows
    unit = finest_unit(dtype for name, dtype in both.schema.items() if name in _stamps(view))
    keys = _keys(view, both)
    stamps = {f"t{number}": to_integer(both[name], unit) for number, name in enumerate(_stamps(view))}
    order = pl.DataFrame(keys | stamps).with_row_index("found").drop_nulls([*keys, "t0"])
    if len(stamps) > 1 or not order["t0"].is_sorted():
        order = order.sort(list(stamps), nulls_last=False, maintain_order=True)
    last = order.unique(list(keys), keep="last", maintain_order=True) if keys else order.tail(1)
    return both[last["found"]]


def _stamps(view: FeatureRows) -> list[str]:
    return [view.event_timestamp, view.created] if view.created else [view.event_timestamp]

"""Read a lazy frame in pieces that fit into memory, in its order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from collections.abc import Iterator

# Values held at once, of some 8 bytes each.
CELLS = 32_000_000


@dataclass(frozen=True)
class Chunk:
    rows: pl.DataFrame
    """In one piece: picking rows out of many pieces is slow."""
    whole: bool
    """It is all there is."""


def chunks(rows: pl.LazyFrame, cells: int | None = None) -> Iterator[Chunk]:
    """The rows in order, some `cells` values at a time; nothing when there are none."""
    limit = max(1, (cells or CELLS) // len(rows.collect_schema()))
    held: list[pl.DataFrame] = []
    whole = True
    for batch in rows.collect_batches():
        held.append(batch)
        if sum(frame.height for frame in held) >= limit:
            whole = False
            yield Chunk(pl.concat(held, rechunk=True), whole=False)
            held = []
    if any(frame.height for frame in held):
        yield Chunk(pl.concat(held, rechunk=True), whole=whole)

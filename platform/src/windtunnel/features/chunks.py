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


def chunks(rows: pl.LazyFrame, chosen: pl.Expr, cells: int | None = None) -> Iterator[Chunk]:
    """The rows for which `chosen` is true, in order; none when there are none."""
    limit = max(1, (cells or CELLS) // len(rows.collect_schema()))
    # A count needs no columns, so it costs a look at the files' footers.
    if rows.select(pl.len()).collect().item() <= limit:
        frame = rows.filter(chosen).collect()
        if frame.height:
            yield Chunk(frame.rechunk(), whole=True)
        return
    held: list[pl.DataFrame] = []
    for batch in rows.filter(chosen).collect_batches():
        held.append(batch)
        if sum(frame.height for frame in held) >= limit:
            yield Chunk(pl.concat(held, rechunk=True), whole=False)
            held = []
    if any(frame.height for frame in held):
        yield Chunk(pl.concat(held, rechunk=True), whole=False)

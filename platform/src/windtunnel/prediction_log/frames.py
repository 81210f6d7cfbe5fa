"""The log's schema in polars: for who writes rows from a frame, and who reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from windtunnel.prediction_log import columns

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_MOMENT = pl.Datetime("us", "UTC")


def schema(features: Iterable[str], join_keys: Mapping[str, str]) -> pl.Schema:
    """The columns of a version with these features, in its order, and join keys by their Feast type."""
    entities = {name: pl.String() if kind == "STRING" else pl.Int64() for name, kind in join_keys.items()}
    return pl.Schema(
        {
            columns.PREDICTION_ID: pl.String(),
            columns.ROW: pl.Int32(),
            columns.TIME: _MOMENT,
            columns.VERSION: pl.String(),
            columns.DIGEST: pl.String(),
            columns.ROLE: pl.String(),
            columns.KEY: pl.String(),
            columns.ENTITIES: pl.Struct(entities) if entities else pl.String(),
            columns.EVENT_TIME: _MOMENT,
            columns.FEATURES: pl.Struct(dict.fromkeys(features, pl.Float64())),
            columns.MISSING: pl.Int32(),
            columns.STALE: pl.Boolean(),
            columns.PREDICTION: pl.Float64(),
            columns.LATENCY_SECONDS: pl.Float64(),
            columns.WRITER: pl.String(),
        }
    )

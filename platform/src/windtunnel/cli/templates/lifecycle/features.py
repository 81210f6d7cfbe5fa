"""Will a visitor buy? What is known about a customer when the visit begins."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING

import pandera.polars as pa
import polars as pl
from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.types import Float64

if TYPE_CHECKING:
    from collections.abc import Mapping


class Visits(pa.DataFrameModel):
    """What a row of the source must look like; a row that does not is quarantined."""

    customer: int
    at: pl.Datetime("us", "UTC")  # type: ignore[valid-type]
    basket: float = pa.Field(ge=0)
    bought: float = pa.Field(isin=[0.0, 1.0], nullable=True)


customer = Entity(name="customer", join_keys=["customer"], value_type=ValueType.INT64)

customer_history = FeatureView(
    name="customer_history",
    entities=[customer],
    schema=[Field(name="buy_share_14d", dtype=Float64), Field(name="visits_14d", dtype=Float64)],
    # A history older than this is as good as none.
    ttl=timedelta(days=7),
    # The platform fills this file from what `transform` returns for the view.
    source=FileSource(
        name="customer_history_rows",
        path="customer_history.parquet",
        timestamp_field="event_timestamp",
        created_timestamp_column="created",
    ),
)

# What the model reads, in this order; the request's own columns follow.
service = FeatureService(name="__NAME__", features=[customer_history])


def transform(partitions: Mapping[str, pl.DataFrame], day: date) -> dict[str, pl.DataFrame]:
    """Feature rows that `day` adds, by view; `partitions` hold `day` and the lookbackDays before it.

    `event_timestamp` says when a row was known: a history that includes all of `day` is known at its end, and
    not one second before. That is what keeps the future out of training.
    """
    known = datetime.combine(day + timedelta(days=1), time(), UTC)
    history = (
        partitions["visits"]
        .group_by("customer")
        .agg(
            # Two imagined visits without a purchase, so that a single one does not say everything.
            buy_share_14d=pl.col("bought").sum() / (pl.len() + 2),
            visits_14d=pl.len().cast(pl.Float64),
        )
    )
    rows = history.with_columns(event_timestamp=pl.lit(known).dt.cast_time_unit("us"))
    return {"customer_history": rows}


def entity_rows(partitions: Mapping[str, pl.DataFrame], day: date) -> pl.DataFrame:
    """What is asked on `day`: join keys, the moment, the request's columns, the label where it is known."""
    visits = partitions["visits"].filter(pl.col("at").dt.date() == day)
    return visits.select(
        "customer",
        "basket",
        "bought",
        event_timestamp=pl.col("at"),
        hour=pl.col("at").dt.hour().cast(pl.Float64),
    )

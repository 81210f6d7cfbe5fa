"""Will a flight arrive more than 15 minutes late? What is known when it is asked, and when that became known.

It is asked at the top of the hour that the flight is scheduled to leave in. Two rules keep the future out:

- a day's delays are known at 6 o'clock (New York) the next morning, when the last of its flights has landed;
- an hour's weather is known when that hour is over: a forecast would help, but this data has none.

Feast joins each question with the newest feature row whose `event_timestamp` is not after it, so a feature
row must carry the time at which it was known, not the time that it speaks of.
"""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pandera.polars as pa
import polars as pl
from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.types import Float64

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pandera.polars import PolarsData

NEW_YORK = ZoneInfo("America/New_York")
LOCAL_TIME = pl.col("time_hour").dt.convert_time_zone(NEW_YORK.key)
LATE_MINUTES = 15
PRIOR_FLIGHTS = 10


# ---- Sources: a row that breaks its schema is quarantined. Columns that are not named here may come and go.
# A time zone that is mistaken joins each flight with the weather of another hour, and no model complains: so
# `time_hour` is checked against the local day and hour, which come from elsewhere.


class Flights(pa.DataFrameModel):
    year: int
    month: int = pa.Field(ge=1, le=12)
    day: int = pa.Field(ge=1, le=31)
    carrier: str
    origin: str = pa.Field(isin=["EWR", "JFK", "LGA"])
    dest: str
    hour: int = pa.Field(ge=0, le=23)  # scheduled, local time
    minute: int = pa.Field(ge=0, le=59)
    distance: int = pa.Field(gt=0)  # miles
    dep_time: int = pa.Field(nullable=True)  # null: cancelled
    arr_delay: int = pa.Field(nullable=True)  # minutes; null: cancelled or diverted
    time_hour: pl.Datetime("us", "UTC")  # type: ignore[valid-type]  # the scheduled hour

    @pa.check("time_hour", error="is in New York another time than year, month, day and hour say")
    def time_hour_is_utc(cls, data: PolarsData) -> pl.LazyFrame:
        same = (LOCAL_TIME.dt.date() == pl.date("year", "month", "day")) & (
            LOCAL_TIME.dt.hour() == pl.col("hour")
        )
        return data.lazyframe.select(same)


class Weather(pa.DataFrameModel):
    origin: str = pa.Field(isin=["EWR", "JFK", "LGA"])
    year: int
    month: int
    day: int
    wind_speed: float = pa.Field(ge=0, lt=200, nullable=True)  # mph
    wind_gust: float = pa.Field(ge=0, lt=300, nullable=True)  # mph; null: none to speak of
    precip: float = pa.Field(ge=0, nullable=True)  # inches in the hour
    visib: float = pa.Field(ge=0, nullable=True)  # miles
    time_hour: pl.Datetime("us", "UTC")  # type: ignore[valid-type]

    @pa.check("time_hour", error="is in New York on another day than year, month and day say")
    def time_hour_is_utc(cls, data: PolarsData) -> pl.LazyFrame:
        return data.lazyframe.select(LOCAL_TIME.dt.date() == pl.date("year", "month", "day"))


# ---- Entities and feature views: what Feast stores, by which key, and for how long it may be used (ttl).

origin = Entity(name="origin", join_keys=["origin"], value_type=ValueType.STRING)
dest = Entity(name="dest", join_keys=["dest"], value_type=ValueType.STRING)
carrier = Entity(name="carrier", join_keys=["carrier"], value_type=ValueType.STRING)
hour = Entity(name="hour", join_keys=["hour"], value_type=ValueType.INT64)


def _view(name: str, entities: list[Entity], features: list[str], ttl: timedelta) -> FeatureView:
    # The platform fills {name}.parquet from what `transform` returns under this name.
    source = FileSource(
        name=f"{name}_rows",
        path=f"{name}.parquet",
        timestamp_field="event_timestamp",
        created_timestamp_column="created",
    )
    schema = [Field(name=feature, dtype=Float64) for feature in features]
    return FeatureView(name=name, entities=entities, schema=schema, ttl=ttl, source=source)


WEATHER = ["wind_speed", "wind_gust", "precip", "visib"]
# Two weeks say how a route is; two days say how it is going.
views = [
    _view("route", [origin, dest], ["route_late_14d", "route_delay_14d"], timedelta(days=7)),
    _view("carrier", [carrier, origin], ["carrier_late_14d", "carrier_late_2d"], timedelta(days=7)),
    _view(
        "airport_hour", [origin, hour], ["airport_hour_late_14d", "airport_hour_late_2d"], timedelta(days=7)
    ),
    _view("weather", [origin], WEATHER, timedelta(hours=6)),
]
service = FeatureService(name="flight_delay", features=views)


# ---- Partitions to feature rows.


def transform(partitions: Mapping[str, pl.DataFrame], day: date) -> dict[str, pl.DataFrame]:
    """Feature rows that the partitions of `day` add; `partitions` hold the rows of two weeks up to `day`."""
    flights = (
        partitions["flights"]
        .filter(pl.col("arr_delay").is_not_null())
        .with_columns(
            late=_late(),
            # Within two hours of its scheduled arrival a delay is known up to here, so it is known in time.
            delay=pl.col("arr_delay").clip(-30, 120).cast(pl.Float64),
            age=(pl.lit(day) - pl.date("year", "month", "day")).dt.total_days(),
        )
    )
    known = datetime.combine(day + timedelta(days=1), time(6), NEW_YORK)
    usual = flights["late"].mean()  # for keys with few flights

    def history(keys: list[str], **features: pl.Expr) -> pl.DataFrame:
        rows = flights.group_by(keys).agg(**features)
        return rows.with_columns(
            event_timestamp=pl.lit(known).dt.convert_time_zone("UTC").dt.cast_time_unit("us")
        )

    def late_share(days: int) -> pl.Expr:
        late = pl.col("late").filter(pl.col("age") < days)
        return (late.sum() + PRIOR_FLIGHTS * usual) / (late.count() + PRIOR_FLIGHTS)

    return {
        "route": history(
            ["origin", "dest"], route_late_14d=late_share(14), route_delay_14d=pl.col("delay").mean()
        ),
        "carrier": history(
            ["carrier", "origin"], carrier_late_14d=late_share(14), carrier_late_2d=late_share(2)
        ),
        "airport_hour": history(
            ["origin", "hour"], airport_hour_late_14d=late_share(14), airport_hour_late_2d=late_share(2)
        ),
        "weather": _weather_of(partitions["weather"], day),
    }


def _late() -> pl.Expr:
    return (pl.col("arr_delay") > LATE_MINUTES).cast(pl.Float64)


def _weather_of(weather: pl.DataFrame, day: date) -> pl.DataFrame:
    """The hours of `day`, each dated when it is over."""
    return weather.filter(pl.date("year", "month", "day") == day).select(
        "origin", *WEATHER, event_timestamp=pl.col("time_hour") + pl.duration(hours=1)
    )


# ---- What is asked on a day: join keys, the moment, request features, slices and, once known, the label.


def entity_rows(partitions: Mapping[str, pl.DataFrame], day: date) -> pl.DataFrame:
    """One row per flight scheduled on `day`.

    The label of a cancelled or diverted flight stays null, and the platform leaves such rows out: the model
    says how late a flight will be if it flies. Whether it flies is another question, and on a day of snow the
    bigger one.
    """
    on_day = pl.date("year", "month", "day") == day
    return (
        partitions["flights"]
        .filter(on_day)
        .select(
            "origin",
            "dest",
            "carrier",
            "hour",
            event_timestamp=pl.col("time_hour"),
            minute_of_day=(pl.col("hour") * 60 + pl.col("minute")).cast(pl.Float64),
            weekday=pl.lit(float(day.weekday())),  # Monday is 0
            distance=pl.col("distance").cast(pl.Float64),
            late=_late(),
        )
    )

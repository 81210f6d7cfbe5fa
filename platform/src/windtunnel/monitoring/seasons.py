"""Which rows are alike by the calendar: a Sunday is compared with Sundays, an evening with evenings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from windtunnel.spec.monitoring import Seasons


def seasons_of(moments: pl.Series, seasons: Seasons) -> pl.Series | None:
    """The season of each moment (by UTC): `7` is Sunday, `18` the hour from six, `7-18` both; None where
    the lifecycle knows none.
    """
    if seasons == "none":
        return None
    when = moments.dt.convert_time_zone("UTC").dt
    weekday, hour = when.weekday().cast(pl.String), when.hour().cast(pl.String).str.zfill(2)
    if seasons == "weekday_hour":
        return weekday + "-" + hour
    return weekday if seasons == "weekday" else hour

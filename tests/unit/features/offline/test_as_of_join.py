"""The corners that histories do not reach: far dates, coarse timestamps, types of keys and of files."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from windtunnel.errors import DataError
from windtunnel.features.offline.as_of_join import FeatureRows, as_of_join
from windtunnel.features.offline.column_types import as_type, merged_schema
from windtunnel.features.offline.join_keys import as_key, common_key_type
from windtunnel.features.offline.moments import as_bounds, finest_unit, span_of, to_integer, within

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def rows(moments: Any, **changed: Any) -> FeatureRows:
    frame = pl.DataFrame(
        {"key": pl.Series([1] * len(moments)), "at": moments, "value": list(range(len(moments)))}
    )
    options: dict[str, Any] = {"created": None, "ttl": None, "features": {"value": "value"}, **changed}
    return FeatureRows(frame.lazy(), {"key": "key"}, "at", **options)


def values(view: FeatureRows, moments: Any, known_then: bool = False) -> list[int | None]:
    asked = pl.DataFrame({"key": [1] * len(moments), "when": moments})
    return as_of_join(asked, "when", [view], known_then=known_then)["value"].to_list()


def test_dates_are_midnights() -> None:
    stored = pl.Series([date(2026, 3, 1), date(2026, 3, 2)])
    asked = [NOON.replace(hour=0) - timedelta(microseconds=1), NOON.replace(hour=0), NOON, NOON + 12 * HOUR]
    assert values(rows(stored), asked) == [None, 0, 0, 1]
    assert values(rows(stored, ttl=12 * HOUR), asked) == [None, 0, 0, 1]
    assert values(rows(stored, ttl=11 * HOUR), asked) == [None, 0, None, 1]
    assert values(rows([NOON]), pl.Series([date(2026, 3, 1), date(2026, 3, 2)])) == [None, 0]


def test_nanoseconds_beside_dates_that_they_cannot_express() -> None:
    fine = pl.Series([NOON]).dt.cast_time_unit("ns")
    far = pl.Series([datetime(1500, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)])
    assert values(rows(fine), far) == [None, 0]
    assert values(rows(fine, ttl=HOUR), far) == [None, None]
    old = [datetime(1400, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)]
    assert values(rows(old), fine) == [0]


def test_milliseconds_are_exact() -> None:
    coarse = pl.Series([NOON]).dt.cast_time_unit("ms")
    tick = timedelta(microseconds=1)
    assert values(rows(coarse), [NOON - tick, NOON, NOON + tick]) == [None, 0, 0]
    assert values(rows([NOON - tick, NOON + tick]), coarse) == [0]


def test_summer_time_is_no_hour_longer() -> None:
    zone = pl.Series([NOON]).dt.convert_time_zone("America/New_York")
    change = datetime(2026, 3, 8, 12, tzinfo=UTC)
    assert values(rows(zone, ttl=change - NOON), [change, change + timedelta(microseconds=1)]) == [0, None]


def test_a_moment_must_be_one() -> None:
    with pytest.raises(DataError, match="entity rows: column 'when' is Int64, not a timestamp"):
        values(rows([NOON]), [5])
    with pytest.raises(DataError, match="feature rows: column 'at' is String, not a timestamp"):
        values(rows(["noon"]), [NOON])
    with pytest.raises(DataError, match="entity rows: there is no column 'other'; they have key, when"):
        as_of_join(pl.DataFrame({"key": [1], "when": [NOON]}), "other", [rows([NOON])], known_then=False)


def test_a_late_row_counts_from_when_it_is_known() -> None:
    created = pl.Series("created", [NOON, NOON + 3 * HOUR, NOON + HOUR, NOON - HOUR])
    moments = [NOON, NOON, NOON + HOUR, NOON + 2 * HOUR]
    view = rows(moments, created="created")
    view = FeatureRows(
        view.rows.with_columns(created), view.keys, "at", "created", timedelta(hours=2), view.features
    )
    asked = [NOON + n * HOUR for n in range(6)]
    assert values(view, asked, known_then=True) == [0, 2, 3, 3, 3, None]
    assert values(view, asked, known_then=False) == [1, 2, 3, 3, 3, None]


@pytest.mark.parametrize(
    ("left", "right", "common"),
    [
        (pl.Int8(), pl.UInt64(), pl.Int64()),
        (pl.UInt64(), pl.UInt64(), pl.UInt64()),
        (pl.Float32(), pl.Float64(), pl.Float64()),
        (pl.Int64(), pl.Float32(), pl.Int64()),
        (pl.Decimal(9, 2), pl.Int16(), pl.Decimal(38, 2)),
        (pl.Categorical(), pl.Enum(["a"]), pl.String()),
        (pl.Null(), pl.Categorical(), pl.String()),
        (pl.Null(), pl.Null(), pl.Int64()),
        (pl.Datetime("ms", "UTC"), pl.Datetime("ns"), pl.Datetime("ns")),
        (pl.Date(), pl.Date(), pl.Date()),
        (pl.String(), pl.Int64(), None),
        (pl.Boolean(), pl.Int64(), None),
        (pl.Date(), pl.Datetime("us"), None),
        (pl.List(pl.Int64), pl.List(pl.Int64), None),
        (pl.Float64(), pl.Decimal(9, 2), None),
    ],
)
def test_types_of_keys(left: pl.DataType, right: pl.DataType, common: pl.DataType | None) -> None:
    assert common_key_type(left, right) == common
    assert common_key_type(right, left) == common


def test_what_a_key_cannot_express_equals_nothing() -> None:
    assert as_key(pl.Series([2**64 - 1, 5], dtype=pl.UInt64), pl.Int64()).to_list() == [None, 5]
    numbers = pl.Series([1.0, 1.5, float("nan"), float("inf"), 2.0**63, -0.0])
    assert as_key(numbers, pl.Int64()).to_list() == [1, None, None, None, None, 0]
    assert as_key(numbers, pl.Float64()).to_list()[2] is None


def test_windows_are_exact_whatever_the_unit() -> None:
    for dtype in (pl.Date(), pl.Datetime("ms", "UTC"), pl.Datetime("us"), pl.Datetime("ns", "Asia/Tokyo")):
        stored = pl.Series("at", [date(2026, 3, 1), date(2026, 3, 2)]).cast(pl.Datetime("us", "UTC"))
        frame = pl.DataFrame({"at": stored.cast(dtype) if dtype == pl.Date() else to_zone(stored, dtype)})
        day = int(datetime(2026, 3, 1, tzinfo=UTC).timestamp()) * 10**6
        for first, last, count in [
            (day, day + 86_400_000_000, 2), (day + 1, day + 86_400_000_000, 1), 
            (day, day + 86_399_999_999, 1),
            (None, day - 1, 0), (day + 86_400_000_001, None, 0), (None, None, 2), (-(2**70), 2**70, 2),
        ]:  # fmt: skip
            assert frame.filter(within("at", dtype, "us", first, last)).height == count, (dtype, first, last)


def to_zone(stored: pl.Series, dtype: pl.DataType) -> pl.Series:
    assert isinstance(dtype, pl.Datetime)
    fine = stored.dt.cast_time_unit(dtype.time_unit)
    return fine.dt.convert_time_zone(dtype.time_zone) if dtype.time_zone else fine.dt.replace_time_zone(None)


def test_bounds_and_spans() -> None:
    fine = pl.Series([1_500, 2_500]).cast(pl.Datetime("ns", "UTC"))
    first, last = as_bounds(fine)
    assert (first.microsecond, last.microsecond) == (1, 3), "rounded outwards"
    assert as_bounds(pl.Series([None], dtype=pl.Datetime("us"))) == (datetime(1970, 1, 1, tzinfo=UTC),) * 2
    assert span_of(timedelta(0), "us") is None
    assert span_of(timedelta.max, "ns") == (2**63 - 1) // 2
    assert finest_unit([pl.Date(), pl.Datetime("ms")]) == "us"
    assert to_integer(pl.Series([date(9999, 12, 31)]), "ns")[0] > 2**62


def test_columns_of_several_files() -> None:
    utc, naive = pl.Datetime("us", "UTC"), pl.Datetime("ns")
    merged = merged_schema(
        {
            "a": {"n": pl.Int32(), "at": naive, "x": pl.Null(), "l": pl.List(pl.Int32)},
            "b": {"at": utc, "n": pl.Float32(), "x": pl.String(), "l": pl.List(pl.Int64)},
        }
    )
    assert merged == {
        "n": pl.Float64(), "at": pl.Datetime("ns", "UTC"), "x": pl.String(), "l": pl.List(pl.Int64()),
    }  # fmt: skip
    frame = pl.DataFrame({"at": pl.Series([NOON.replace(tzinfo=None)]).dt.cast_time_unit("ns")})
    assert frame.select(as_type("at", naive, merged["at"])).item() == NOON
    with pytest.raises(DataError, match="b: column 'n' is String here and Int64 in a"):
        merged_schema({"a": {"n": pl.Int64()}, "b": {"n": pl.String()}})

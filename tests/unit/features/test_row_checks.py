from __future__ import annotations

import pandera.polars as pa
import polars as pl
import pytest

from windtunnel.errors import DataError, SpecError
from windtunnel.features.row_checks import as_schema, split_rows


class Orders(pa.DataFrameModel):
    order: int = pa.Field(unique=True)
    price: float = pa.Field(ge=0, nullable=True)
    country: str


SCHEMA = as_schema(Orders, "features:Orders")
GOOD = pl.DataFrame({"order": [1, 2, 3], "price": [1.0, None, 3.0], "country": ["NL", "DE", "FR"]})


def test_good_rows_pass_unchanged() -> None:
    split = split_rows(GOOD, SCHEMA, "here")
    assert split.clean.equals(GOOD)
    assert split.bad.is_empty()


def test_each_bad_row_says_all_that_it_breaks() -> None:
    frame = pl.concat([GOOD, pl.DataFrame({"order": [4, 5], "price": [-1.0, -2.0], "country": [None, "BE"]})])
    split = split_rows(frame, SCHEMA, "here")
    assert split.clean.equals(GOOD)
    assert split.bad["order"].to_list() == [4, 5]
    assert split.bad["quarantine_reason"].to_list() == [
        "country: not_nullable; price: greater_than_or_equal_to(0)",
        "price: greater_than_or_equal_to(0)",
    ]


def test_rows_that_should_be_unique_are_all_bad() -> None:
    split = split_rows(GOOD.with_columns(order=pl.Series([1, 1, 3])), SCHEMA, "here")
    assert split.clean["order"].to_list() == [3]
    assert split.bad.height == 2


def test_a_column_that_the_schema_does_not_name_may_come() -> None:
    assert split_rows(GOOD.with_columns(extra=pl.lit(1)), SCHEMA, "here").clean.columns[-1] == "extra"


def test_a_schema_that_coerces_does() -> None:
    class Coerced(Orders):
        class Config:
            coerce = True

    frame = GOOD.with_columns(pl.col("order").cast(pl.Int16))
    assert split_rows(frame, as_schema(Coerced, ""), "here").clean.schema["order"] == pl.Int64


def test_a_whole_column_at_fault_is_no_matter_of_rows() -> None:
    with pytest.raises(DataError, match="here: there is no column 'country'"):
        split_rows(GOOD.drop("country"), SCHEMA, "here")


def test_something_else_is_no_schema() -> None:
    with pytest.raises(SpecError, match=r"features:X: this is no schema for polars frames but dict"):
        as_schema({}, "features:X")

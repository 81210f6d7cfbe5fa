"""Split a raw partition into the rows that keep their schema and the rows that break it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from windtunnel.errors import DataError, SpecError

if TYPE_CHECKING:
    from pandera.api.polars.container import DataFrameSchema

REASON = "quarantine_reason"
_POSITION = "windtunnel_position"


@dataclass(frozen=True)
class Split:
    """`bad` holds the raw columns and `quarantine_reason`: what each row broke."""

    clean: pl.DataFrame
    bad: pl.DataFrame


def as_schema(declared: Any, where: str) -> DataFrameSchema:
    """A pandera DataFrameModel class or DataFrameSchema (of pandera.polars) as a schema; raises SpecError."""
    import pandera.polars as pa

    if isinstance(declared, type) and issubclass(declared, pa.DataFrameModel):
        return declared.to_schema()
    if isinstance(declared, pa.DataFrameSchema):
        return declared
    raise SpecError(
        f"this is no schema for polars frames but {type(declared).__name__}",
        where=where,
        fix="derive a class from pandera.polars.DataFrameModel",
    )


def split_rows(frame: pl.DataFrame, schema: DataFrameSchema, where: str) -> Split:
    """Raises DataError when it is not about rows: a column is absent or of another type."""
    import pandera.errors

    frame = _type_empty_columns(frame, schema)
    try:
        return Split(schema.validate(frame, lazy=True), frame.clear().with_columns(pl.lit("").alias(REASON)))
    except pandera.errors.SchemaErrors as error:
        reasons = _reasons(error.failure_cases, where)
    positioned = frame.with_row_index(_POSITION).join(
        reasons, on=_POSITION, how="left", maintain_order="left"
    )
    bad = positioned.filter(pl.col(REASON).is_not_null()).drop(_POSITION)
    clean = positioned.filter(pl.col(REASON).is_null()).drop(_POSITION, REASON)
    return Split(schema.validate(clean), bad)


def _type_empty_columns(frame: pl.DataFrame, schema: DataFrameSchema) -> pl.DataFrame:
    """A day without a single value in a column has lost the column's type: give it back."""
    types = {name: column.dtype.type for name, column in schema.columns.items() if column.dtype}
    empty = [name for name, dtype in frame.schema.items() if dtype == pl.Null and name in types]
    return frame.with_columns(pl.col(name).cast(types[name]) for name in empty)


def _reasons(cases: pl.DataFrame, where: str) -> pl.DataFrame:
    """Positions of bad rows, each with all that it breaks."""
    about_columns = cases.filter(pl.col("index").is_null())
    if about_columns.height:
        first = about_columns.row(0, named=True)
        raise DataError(
            _column_problem(first), where=where, fix="mend the source, or its schema in the lifecycle"
        )
    reason = pl.format("{}: {}", pl.col("column"), pl.col("check"))
    return (
        cases.group_by(pl.col("index").cast(pl.UInt32).alias(_POSITION))
        .agg(reason.unique().sort().alias(REASON))
        .with_columns(pl.col(REASON).list.join("; "))
    )


def _column_problem(case: dict[str, Any]) -> str:
    if case["check"] == "column_in_dataframe":
        return f"there is no column {case['failure_case']!r}"
    if str(case["check"]).startswith("dtype("):
        return f"column {case['column']!r} is {case['failure_case']}, the schema says {case['check'][7:-2]}"
    return f"column {case['column']!r} breaks {case['check']}: {case['failure_case']}"

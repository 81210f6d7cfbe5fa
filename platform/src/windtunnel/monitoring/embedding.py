"""The lifecycle's own embedding: numbers that stand for what the single features do not show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from windtunnel.errors import DataError
from windtunnel.usercode import load_object

if TYPE_CHECKING:
    from pathlib import Path

_WIDEST: Final = 512


def embed(directory: Path, function: str | None, inputs: pl.DataFrame) -> pl.DataFrame | None:
    """`embedding_0`, `embedding_1`, … of each row of the model's inputs; None where the lifecycle names no
    function. Raises SpecError when there is no such function, DataError for what it returns.
    """
    if function is None:
        return None
    act = load_object(directory, function)
    try:
        matrix = np.asarray(act(inputs.to_pandas()), dtype=np.float64)
    except Exception as error:  # it is the lifecycle's code: anything may come out of it
        raise DataError(f"it raised {type(error).__name__}: {error}", where=function) from error
    if matrix.ndim != 2 or len(matrix) != inputs.height or not 1 <= matrix.shape[1] <= _WIDEST:
        raise DataError(
            f"it returned shape {list(matrix.shape)} for {inputs.height:,} rows",
            where=function,
            fix=f"return one row of 1 to {_WIDEST} numbers for each row of features",
        )
    names = [f"embedding_{number}" for number in range(matrix.shape[1])]
    return pl.DataFrame(matrix, schema=names, orient="row").fill_nan(None)

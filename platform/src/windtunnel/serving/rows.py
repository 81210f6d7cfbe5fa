"""Completes a request's rows: online features read, what is missing counted, what the model cannot compute
refused."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from windtunnel.errors import RequestError
from windtunnel.features.online.online_reader import Gaps

if TYPE_CHECKING:
    from windtunnel.features.online.online_reader import OnlineFeatures
    from windtunnel.serving.inputs import Batch
    from windtunnel.serving.metrics import Metrics
    from windtunnel.serving.model import FloatArray, VersionInterface

_ONE_BY_ONE: Final = 64
"""Values up to which a loop is faster than numpy."""


class Rows(NamedTuple):
    """What a model is asked."""

    matrix: FloatArray
    """[rows, features]; nobody writes to it any more."""
    nulls: int
    """Values that the model has to do without."""
    missing: int
    """Values that are missing: the nulls, and those that a default stands for."""
    stale: int | None
    """Values of the online store that were too old to use; None when it was not asked."""
    by_row: Gaps | None = None
    """Missing and stale values of each row, where there are several and the online store was asked."""

    def of_each(self) -> tuple[int | bytes | None, bool | bytes | None]:
        """Missing values, and whether one is stale, as the prediction log takes them: of the only row, or as
        int32 and bool for each row, or None for what the matrix itself tells."""
        if len(self.matrix) == 1:
            return self.missing, None if self.stale is None else self.stale > 0
        if self.by_row is None:
            return None, None
        return self.by_row.missing.tobytes(), (self.by_row.stale > 0).tobytes()


async def complete(version: VersionInterface, batch: Batch, now: float | None, metrics: Metrics) -> Rows:
    """The batch as rows, as of `now` (seconds since 1970; None for the clock's). Raises RequestError,
    StoreError."""
    if batch.entities is None:
        return as_sent(version, batch)
    online = await _read_online(version, batch, now, metrics)
    nulls = _examine(version, batch.matrix)
    defaulted = online.missing - int(np.isnan(online.values).sum()) if online.missing else 0
    return Rows(batch.matrix, nulls, nulls + defaulted, online.stale, _by_row(batch.matrix, online))


def as_sent(version: VersionInterface, batch: Batch) -> Rows:
    """A batch of which nothing is to be read online as rows. Raises RequestError."""
    nulls = _examine(version, batch.matrix)
    return Rows(batch.matrix, nulls, nulls, None)


def _by_row(matrix: FloatArray, online: OnlineFeatures) -> Gaps | None:
    """As Rows.by_row: what callers left out is missing as well."""
    if online.by_row is None:
        return None
    sent = np.isnan(matrix).sum(axis=1, dtype=np.int32) - np.isnan(online.values).sum(axis=1, dtype=np.int32)
    return Gaps(sent + online.by_row.missing, online.by_row.stale)


def _examine(version: VersionInterface, matrix: FloatArray) -> int:
    """Missing values. Raises RequestError when the model cannot compute with the others."""
    nulls, holds = _look_at(version, matrix)
    if not holds:
        raise RequestError(
            "a number is too large for this model", where="inputs", fix="send less than 3.4e38"
        )
    return nulls


def _look_at(version: VersionInterface, matrix: FloatArray) -> tuple[int, bool]:
    """(missing values, whether the model can compute with the others)."""
    if matrix.size > _ONE_BY_ONE:
        return int(np.isnan(matrix).sum()), version.holds(matrix)
    limit = version.largest
    values = matrix.ravel().tolist()
    if sum(map(abs, values)) <= limit:
        # none of them is larger than their sum, and NaN would have made that NaN
        return 0, True
    missing = 0
    for value in values:
        if -limit <= value <= limit:
            continue
        if value == value:
            return missing, False
        missing += 1
    return missing, True


async def _read_online(
    version: VersionInterface, batch: Batch, now: float | None, metrics: Metrics
) -> OnlineFeatures:
    """Fill in the online columns."""
    assert version.reader is not None, "a plan without reader knows no join keys"
    assert batch.entities is not None
    started = time.perf_counter()
    online = await version.reader.read(batch.entities, now)
    metrics.online_read_seconds.labels(version.lifecycle).observe(time.perf_counter() - started)
    batch.matrix[:, version.online_columns] = online.values
    return online

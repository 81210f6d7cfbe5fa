"""Quality of the rows whose labels have come, beside the evaluation of the version that answered them."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import polars as pl

from windtunnel.monitoring.labels import DAY, LABEL, SLICE
from windtunnel.monitoring.measures import Quality, SliceQuality, VersionQuality
from windtunnel.prediction_log import columns
from windtunnel.stats.block_means import BlockMean, block_mean, difference, quantile
from windtunnel.stats.calibration import reliability
from windtunnel.stats.losses import row_losses
from windtunnel.stats.metrics import quality

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from windtunnel.monitoring.labels import Labelled
    from windtunnel.monitoring.reference import ReferenceProfile, ReferenceSlice
    from windtunnel.spec.lifecycle import LifecycleSpec

SLICE_ROWS: Final = 30
"""Slices with fewer labels are counted, not judged (as the gate does)."""
_NULL: Final = "(null)"


def labelled(rows: pl.DataFrame) -> pl.DataFrame:
    """Those of the rows that have a label."""
    return rows.filter(pl.col(LABEL).is_not_null())


def arrays(rows: pl.DataFrame) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[Any]]:
    """Labels, predictions and days of labelled rows, [N] each."""
    return rows[LABEL].to_numpy(), rows[columns.PREDICTION].to_numpy(), rows[DAY].to_numpy()


def measure_quality(told: Labelled, profile: ReferenceProfile, spec: LifecycleSpec) -> Quality | None:
    """Of all rows given; None where none of them has a label yet. Worse is: shown to be worse, and by more
    than the gate's margin.
    """
    rows = labelled(told.rows)
    if rows.is_empty():
        return None
    label, prediction, days = arrays(rows)
    metric, reference = spec.evaluation.metric, profile.quality.loss
    loss = block_mean(row_losses(metric, label, prediction), days)
    found, interval = difference(loss, reference, spec.monitoring.alpha)
    binary = spec.label.kind == "binary"
    enough = rows.height >= spec.monitoring.min_rows
    return Quality(
        labelled=rows.height,
        coverage=rows.height / told.rows.height,
        metric=metric,
        loss=loss.mean,
        reference_loss=reference.mean,
        difference=found,
        interval=interval,
        worse=enough and interval[0] > 0.0 and found > spec.evaluation.gate.margin,
        metrics=quality(spec.label.kind, label, prediction),  # type: ignore[arg-type]
        duplicates=told.duplicates,
        calibration=tuple(asdict(one) for one in reliability(label, prediction)) if binary else None,
        enough=enough,
    )


def measure_slices(
    told: Labelled, profile: ReferenceProfile, spec: LifecycleSpec
) -> tuple[SliceQuality, ...]:
    """Every value of every slice column, the largest first; the chance of any false alarm is alpha in all."""
    found: list[tuple[str, str, pl.DataFrame, pl.DataFrame]] = []
    for column in spec.evaluation.slices:
        named = told.rows.with_columns(pl.col(SLICE + column).fill_null(_NULL).alias(SLICE))
        parts = sorted(named.partition_by(SLICE), key=lambda part: -part.height)
        known = profile.slices.get(column, {})
        found += [
            (column, str(part[SLICE][0]), part, labelled(part))
            for part in parts
            if str(part[SLICE][0]) in known
        ]
    judged = max(1, sum(rows.height >= SLICE_ROWS for *_, rows in found))
    return tuple(
        _slice(column, value, part.height, rows, profile.slices[column][value], profile, spec, judged)
        for column, value, part, rows in found
    )


def _slice(
    column: str,
    value: str,
    asked: int,
    rows: pl.DataFrame,
    reference: ReferenceSlice,
    profile: ReferenceProfile,
    spec: LifecycleSpec,
    judged: int,
) -> SliceQuality:
    if rows.height < SLICE_ROWS or reference.rows < SLICE_ROWS:
        return SliceQuality(column, value, asked, rows.height, None, reference.loss, None, worse=False)
    label, prediction, days = arrays(rows)
    whole = profile.quality.loss
    loss = block_mean(row_losses(spec.evaluation.metric, label, prediction), days)
    before = BlockMean(
        reference.loss, reference.rows, whole.blocks, reference.row_variance, whole.block_variance
    )
    found, interval = difference(loss, before, spec.monitoring.alpha / judged)
    worse = interval[0] > 0.0 and found > spec.evaluation.gate.margin
    return SliceQuality(column, value, asked, rows.height, loss.mean, reference.loss, interval, worse)


def measure_version(
    version: str, rows: pl.DataFrame, asked: int, profile: ReferenceProfile, spec: LifecycleSpec
) -> VersionQuality:
    """What a version made of its `asked` rows, of which `rows` have labels."""
    if rows.height < SLICE_ROWS:
        return VersionQuality(version, asked, rows.height, None, None)
    label, prediction, days = arrays(rows)
    loss = block_mean(row_losses(spec.evaluation.metric, label, prediction), days)
    of_rows = loss.row_variance / loss.rows
    of_days = profile.quality.loss.block_variance / loss.blocks
    reach = quantile(spec.monitoring.alpha, of_rows, of_days, profile.quality.loss.blocks)
    half = reach * float(np.sqrt(of_rows + of_days))
    return VersionQuality(version, asked, rows.height, loss.mean, (loss.mean - half, loss.mean + half))

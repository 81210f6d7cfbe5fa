"""Quality before labels: the loss that the window's predictions will show if calibration still holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from windtunnel.monitoring.measures import Estimated
from windtunnel.monitoring.windows import moments
from windtunnel.prediction_log import columns
from windtunnel.stats.cbpe import estimate_loss

if TYPE_CHECKING:
    import polars as pl

    from windtunnel.monitoring.reference import ReferenceProfile
    from windtunnel.spec.lifecycle import LifecycleSpec


def estimate_quality(rows: pl.DataFrame, profile: ReferenceProfile, spec: LifecycleSpec) -> Estimated | None:
    """Of all rows given; None for values, whose error no prediction tells. Worse is as for quality itself."""
    if profile.calibration is None or rows.is_empty():
        return None
    metric, reference = spec.evaluation.metric, profile.quality.loss.mean
    days = moments(rows).dt.date().to_numpy()
    found = estimate_loss(
        metric, rows[columns.PREDICTION].to_numpy(), days, profile.calibration, spec.monitoring.alpha
    )
    shown = rows.height >= spec.monitoring.min_rows and found.interval[0] > reference
    return Estimated(
        metric=metric,
        value=found.value,
        interval=found.interval,
        reference=reference,
        worse=shown and found.value - reference > spec.evaluation.gate.margin,
        rows=rows.height,
    )

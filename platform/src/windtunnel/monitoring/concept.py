"""Concept drift: do labels still follow from the features as they did when the model was judged?

Two things are watched, day by day, each less what the evaluation promises for these very predictions, so that
neither harder rows nor another mix of rows counts:

    loss   the loss less what calibrated probabilities expect it to be (of values: less the evaluation's)
    label  the label less what the model expects, in either direction

A day's mean is taken in units of its standard error, by rows and by what days differ among themselves in the
evaluation, and beyond a tolerance: the evaluation knows its own mean only so well, and a twentieth of a
standard deviation is a trifle. windtunnel.stats.detectors makes the decision, over all windows since the
version began to serve; only days whose labels have all come are counted, each once.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from windtunnel.monitoring.labels import DAY
from windtunnel.monitoring.measures import Concept
from windtunnel.monitoring.quality import arrays, labelled
from windtunnel.stats.block_means import BlockMean, freedom_of
from windtunnel.stats.cbpe import expected_losses
from windtunnel.stats.detectors import ChangeDetector
from windtunnel.stats.losses import row_losses

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date

    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

    from windtunnel.monitoring.reference import ReferenceProfile
    from windtunnel.spec.lifecycle import LifecycleSpec

LOSS, MORE, FEWER = "loss", "more", "fewer"
STREAMS: Final = (MORE, FEWER, LOSS)
"""Of those that speak equally loud the first is told: which way labels moved says more than the loss."""
_DAY_ROWS: Final = 30
"""Days with fewer labels are left out."""
_TRIFLE: Final = 0.05
"""Standard deviations of a row that a mean may have moved by without anybody minding."""
_SURE: Final = 2.0
"""Standard errors of the evaluation's own mean that are let pass."""


def detect(
    rows: pl.DataFrame,
    profile: ReferenceProfile,
    spec: LifecycleSpec,
    before: dict[str, Any] | None = None,
    complete: date | None = None,
) -> Concept | None:
    """Of the labelled rows, days in order, going on from the state `before`; None where no day could ever be
    counted. Days after `complete` wait for their labels (None: none does).
    """
    detector = _detector(before, spec.monitoring.alpha)
    counted, last = 0, detector.last
    for day, part in _days(labelled(rows), complete, last):
        label, prediction, _ = arrays(part)
        scores = _scores(label, prediction, profile, spec)
        detector.update(day.isoformat(), scores)
        counted += part.height
    if not detector.days:
        return None
    stream, since = detector.alarm or (None, "")
    return Concept(
        detected=detector.detected,
        since=datetime.fromisoformat(since).replace(tzinfo=UTC) if since else None,
        direction=stream,  # type: ignore[arg-type]
        rows=counted,
        days=detector.days,
        p_value=detector.p_value,
        state=detector.to_json(),
    )


def _detector(before: dict[str, Any] | None, alpha: float) -> ChangeDetector:
    if before:
        try:
            return ChangeDetector.from_json(STREAMS, alpha, before)
        except (KeyError, TypeError, ValueError):
            pass  # of a release that watched something else: begin anew
    return ChangeDetector(STREAMS, alpha)


def _days(rows: pl.DataFrame, complete: date | None, last: str) -> Iterator[tuple[date, pl.DataFrame]]:
    parts = rows.sort(DAY, maintain_order=True).partition_by(DAY, maintain_order=True)
    for part in parts:
        day = part[DAY][0]
        waits = complete is not None and day > complete
        if part.height >= _DAY_ROWS and not waits and day.isoformat() > last:
            yield day, part


def _scores(
    label: NDArray[np.float64],
    prediction: NDArray[np.float64],
    profile: ReferenceProfile,
    spec: LifecycleSpec,
) -> dict[str, float]:
    metric, curve = spec.evaluation.metric, profile.calibration
    losses = row_losses(metric, label, prediction)
    if curve is None:
        excess, of_loss = losses, profile.quality.loss
        surprise = label - prediction
    else:
        calibrated = curve.probabilities(prediction)
        excess, of_loss = losses - expected_losses(metric, prediction, calibrated), curve.residual
        surprise = label - calibrated
    of_label = profile.quality.residual
    moved = float(surprise.mean()) - of_label.mean
    return {
        LOSS: _score(float(excess.mean()) - of_loss.mean, float(excess.var()), len(label), of_loss),
        MORE: _score(moved, float(surprise.var()), len(label), of_label),
        FEWER: _score(-moved, float(surprise.var()), len(label), of_label),
    }


def _score(moved: float, variance: float, rows: int, reference: BlockMean) -> float:
    """A day's mean beyond its tolerance, in standard errors, as if they were known."""
    from scipy import special

    tolerance = _SURE * reference.standard_error + _TRIFLE * math.sqrt(reference.row_variance)
    of_rows = max(variance, reference.row_variance) / rows
    spread = math.sqrt(of_rows + reference.block_variance)
    if spread <= 0.0:
        return 0.0
    score = (moved - tolerance) / spread
    freedom = freedom_of(of_rows, reference.block_variance, reference.blocks)
    return score if math.isinf(freedom) else float(special.ndtri(special.stdtr(freedom, score)))

"""A prediction log that nothing is asked of, for tests of what is beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from windtunnel.serving.log_keeper import LogKeeper
from windtunnel.serving.prediction_log import PredictionLog

if TYPE_CHECKING:
    from windtunnel.serving.metrics import Metrics


def no_log(metrics: Metrics) -> PredictionLog:
    """It logs nothing as long as nobody sets its sample."""
    return PredictionLog(metrics.log, LogKeeper([], metrics.log), 0)

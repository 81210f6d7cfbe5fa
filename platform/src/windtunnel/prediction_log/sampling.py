"""Which predictions are logged, where not all are: decided by the id, so that a prediction's rows, and what
all roles made of them, are in together or out together."""

from __future__ import annotations

from typing import Final

EVERY: Final = 1 << 32


def threshold(sample: float) -> int:
    """What `takes` wants for a share of 0 to 1."""
    return round(sample * EVERY)


def takes(prediction_id: str, limit: int) -> bool:
    """Whether the prediction is logged; the last 32 bits of an id are random."""
    return limit >= EVERY or int(prediction_id[-8:], 16) < limit

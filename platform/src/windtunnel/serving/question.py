"""One infer call as it was read."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from windtunnel.serving.protocol import seconds_of

if TYPE_CHECKING:
    from windtunnel.serving.inputs import Batch
    from windtunnel.serving.protocol import InferRequest


class Question(NamedTuple):
    """What is asked; who answers is another matter."""

    request: InferRequest
    batch: Batch
    """As the champion reads it."""
    id: str
    """Of the prediction."""
    now: float | None
    """Seconds since 1970 as of which online features are read; None where none are."""
    began: float
    """When (time.perf_counter)."""

    def event_time(self) -> float | None:
        """Seconds since 1970: as of when online features were read, else what the caller said, if that is a
        moment."""
        said = self.request.said.event_timestamp
        return self.now if self.now is not None or said is None else seconds_of(said)

"""How long the serving process waits for its challenger, before the champion answers instead."""

from __future__ import annotations

import statistics
from collections import deque
from typing import Final

FLOOR: Final = 0.02
"""Seconds that the challenger gets at least: what a caller of a fast model may lose to a bad one."""
CEILING: Final = 0.5
"""Seconds that it gets at most."""
_UNMEASURED: Final = 0.1
"""Seconds that it gets before the champion has answered anything."""
_TIMES: Final = 3.0
_KEPT: Final = 31


class TimeLimit:
    """Three times what the champion takes for a batch of like size (median of its last ones)."""

    def __init__(self) -> None:
        self._seconds: dict[int, deque[float]] = {}

    def measured(self, rows: int, seconds: float) -> None:
        """The champion took `seconds` for `rows`."""
        size = rows.bit_length()
        recent = self._seconds.get(size)
        if recent is None:
            recent = self._seconds[size] = deque(maxlen=_KEPT)
        recent.append(seconds)

    def limit(self, rows: int) -> float:
        """Seconds for a batch of `rows`; from the nearest size that was measured, scaled up if need be."""
        if not self._seconds:
            return _UNMEASURED
        size = rows.bit_length()
        nearest = min(self._seconds, key=lambda known: abs(known - size))
        median = statistics.median(self._seconds[nearest])
        return min(CEILING, max(FLOOR, _TIMES * median * max(1, 1 << max(0, size - nearest))))

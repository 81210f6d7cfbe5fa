"""Forgets what was counted of versions that nobody uses any more; series would pile up otherwise, one set for
each promotion."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from windtunnel.serving.dataplane import Dataplane
    from windtunnel.serving.metrics import Metrics

KEPT_SECONDS: Final = 600.0
"""Long enough for Prometheus to have seen the last of it."""
_LOOK_SECONDS: Final = 60.0


class Retirement:
    """On the event loop only."""

    def __init__(self, metrics: Metrics, clock: Callable[[], float] = time.monotonic) -> None:
        self._metrics = metrics
        self._clock = clock
        self._idle_since: dict[tuple[str, str], float] = {}

    def look(self, in_use: Collection[str]) -> None:
        """Forget versions that have not been in use since KEPT_SECONDS."""
        now = self._clock()
        # "" counts requests before the first load, and to models that are not here
        idle = {name for name in self._metrics.counted() if name[1] and name[1] not in in_use}
        self._idle_since = {name: self._idle_since.get(name, now) for name in idle}
        for name, since in tuple(self._idle_since.items()):
            if now - since >= KEPT_SECONDS:
                self._metrics.forget(*name)
                del self._idle_since[name]


async def retire(dataplane: Dataplane, metrics: Metrics) -> None:
    """Look again and again, until cancelled."""
    retirement = Retirement(metrics)
    while True:
        retirement.look(dataplane.versions_in_use())
        await asyncio.sleep(_LOOK_SECONDS)

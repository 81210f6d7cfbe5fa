"""What is counted of a challenger; GET /metrics and the controller's guard read it."""

from __future__ import annotations

import logging
import math
import time
from functools import partial
from typing import TYPE_CHECKING, Final, Literal, get_args

from prometheus_client import Counter, Gauge, Histogram

from windtunnel.serving.challenger_keeper import STATES
from windtunnel.serving.challenger_link import Reason

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from windtunnel.serving.challenger_keeper import State
    from windtunnel.serving.challenger_link import Fault

log = logging.getLogger(__name__)

Mode = Literal["routed", "shadow"]

_LOG_EVERY: Final = 10.0
"""Seconds between two faults of a kind in the log: the counters know them all."""


class ChallengerMetrics:
    """Metric objects by what they count."""

    def __init__(self, registry: CollectorRegistry, seconds: tuple[float, ...]) -> None:
        version = ("model", "version")
        self.requests = Counter(
            "windtunnel_serving_challenger_requests",
            "Requests given to the challenger, and copies that it scored.",
            (*version, "mode"),
            registry=registry,
        )
        self.faults = Counter(
            "windtunnel_serving_challenger_faults",
            "Those that it did not answer as it should have; the champion answered the routed ones.",
            (*version, "mode", "reason"),
            registry=registry,
        )
        self.seconds = Histogram(
            "windtunnel_serving_challenger_seconds",
            "Time from asking the challenger's process to its answer, of routed requests.",
            version,
            buckets=seconds,
            registry=registry,
        )
        self.drops = Counter(
            "windtunnel_serving_shadow_drops",
            "Copies that were not scored, because too many waited.",
            version,
            registry=registry,
        )
        self.restarts = Counter(
            "windtunnel_serving_challenger_restarts",
            "Times that the challenger's process was started again.",
            version,
            registry=registry,
        )
        self.state = Gauge(
            "windtunnel_serving_challenger_state",
            "1 for the state that the challenger is in.",
            (*version, "state"),
            registry=registry,
        )

    def of(self, model: str, version: str) -> ChallengerCounts:
        """The series of one version, all of them from the start: a rate needs a zero."""
        return ChallengerCounts(self, model, version)


class ChallengerCounts:
    """What is counted of one version."""

    def __init__(self, metrics: ChallengerMetrics, model: str, version: str) -> None:
        self._version = version
        self._requests = {mode: metrics.requests.labels(model, version, mode) for mode in get_args(Mode)}
        self._faults = {
            (mode, reason): metrics.faults.labels(model, version, mode, reason)
            for mode in get_args(Mode)
            for reason in get_args(Reason)
        }
        self.seconds = metrics.seconds.labels(model, version)
        self.drops = metrics.drops.labels(model, version)
        self.restarts = metrics.restarts.labels(model, version)
        self._states = {state: metrics.state.labels(model, version, state) for state in STATES}
        of_version = (metrics.seconds, metrics.drops, metrics.restarts)
        self._forget = [
            *(partial(metrics.state.remove, model, version, state) for state in STATES),
            *(partial(metrics.requests.remove, model, version, mode) for mode in self._requests),
            *(partial(metrics.faults.remove, model, version, *of) for of in self._faults),
            *(partial(metric.remove, model, version) for metric in of_version),
        ]
        self._logged: dict[str, float] = {}
        self.last_fault: dict[str, str] | None = None

    def asked(self, mode: Mode) -> None:
        """A request was given to the challenger."""
        self._requests[mode].inc()

    def faulted(self, mode: Mode, fault: Fault) -> None:
        """It did not answer as it should have; counts the request as well."""
        self._requests[mode].inc()
        self._faults[mode, fault.reason].inc()
        self.last_fault = {"mode": mode, "reason": fault.reason, "message": str(fault)}
        now = time.monotonic()
        if now - self._logged.get(fault.reason, -math.inf) > _LOG_EVERY:
            self._logged[fault.reason] = now
            log.warning("challenger %s, %s: %s: %s", self._version, mode, fault.reason, fault)

    def is_in(self, state: State) -> None:
        """The version is in that state now."""
        for name, gauge in self._states.items():
            gauge.set(name == state)

    def gone(self) -> None:
        """The version is no challenger any more. Should it become one again it begins at zero, or the guard
        would take it back for what it did before."""
        for forget in self._forget:
            forget()

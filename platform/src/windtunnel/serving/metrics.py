"""What the serving runtime counts; one registry per process, made by whoever starts it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from windtunnel.serving.call_metrics import CallMetrics
from windtunnel.serving.challenger_metrics import ChallengerMetrics
from windtunnel.serving.log_metrics import LogMetrics
from windtunnel.serving.predictions import PredictionHistograms

if TYPE_CHECKING:
    from collections.abc import Iterable

    from windtunnel.serving.model import LoadedVersion

_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


class Metrics:
    """Metric objects by what they count. `version` is the model version, empty before one is loaded."""

    def __init__(self) -> None:
        # one more series for each metric, that nobody reads
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self._calls = CallMetrics(_SECONDS)
        self.registry.register(self._calls)
        self.of = self._calls.of
        """The series of a version in a role."""
        self.online_read_seconds = Histogram(
            "windtunnel_serving_online_read_seconds",
            "Time of one read of the online store.",
            ("model",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.predict_seconds = Histogram(
            "windtunnel_serving_predict_seconds",
            "Time that a model itself takes for a request; measured while there is a challenger to compare.",
            ("model", "version", "role"),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.predictions = PredictionHistograms()
        self.registry.register(self.predictions)
        self.challenger = ChallengerMetrics(self.registry, _SECONDS)
        self.log = LogMetrics(self.registry)
        self.model_info = Gauge(
            "windtunnel_serving_model_info",
            "1 for each model version that is loaded, with its role.",
            ("model", "version", "role", "digest"),
            registry=self.registry,
        )
        self.model_bytes = Gauge(
            "windtunnel_serving_model_bytes",
            "Memory that a loaded version took when it was loaded, about.",
            ("model", "version", "role"),
            registry=self.registry,
        )
        self.warm_loads = Counter(
            "windtunnel_serving_warm_loads",
            "Former champions loaded in the background, by outcome (ok, NoRoom, or the error's kind).",
            ("model", "outcome"),
            registry=self.registry,
        )
        self.loads = Counter(
            "windtunnel_serving_loads",
            "Bundles loaded, by outcome (ok, or the error's kind).",
            ("model", "outcome"),
            registry=self.registry,
        )
        self.watch_connected = Gauge(
            "windtunnel_serving_watch_connected",
            "1 while the source of the ServedModel answers.",
            registry=self.registry,
        )

    def holds(self, loaded: LoadedVersion, role: str) -> None:
        """A version is loaded, as champion or warm."""
        names = (loaded.lifecycle, loaded.version, role)
        self.model_info.labels(*names, loaded.digest).set(1)
        self.model_bytes.labels(*names).set(loaded.memory_bytes)

    def lets_go(self, loaded: LoadedVersion, role: str) -> None:
        """It is that no more."""
        names = (loaded.lifecycle, loaded.version, role)
        self.model_info.remove(*names, loaded.digest)
        self.model_bytes.remove(*names)

    def counted(self) -> set[tuple[str, str]]:
        """The (model, version) that have series of their own; who only scores copies answers no call."""
        return self._calls.counted() | self.predictions.counted()

    def forget(self, model: str, version: str) -> None:
        """Drop the series of a version; should it come again it begins at zero."""
        labels = {"model": model, "version": version}
        self.predict_seconds.remove_by_labels(labels)
        self._calls.forget(model, version)
        self.predictions.forget(model, version)

    async def text(self) -> bytes:
        """All of it in Prometheus' text format. Metric by metric, others get their turn in between: the guard
        asks each second, and no request may wait for the whole."""
        parts = []
        for family in self.registry.collect():
            parts.append(generate_latest(_Collected(family)))
            await asyncio.sleep(0)
        return b"".join(parts)


class _Collected:
    """One metric as a registry."""

    def __init__(self, family: Any) -> None:
        self._family = family

    def collect(self) -> Iterable[Any]:
        return (self._family,)

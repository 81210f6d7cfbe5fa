"""What is counted of the prediction log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from prometheus_client import Counter, Gauge

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

Reason = Literal["buffer_full", "unfit", "writer_died", "shutdown"]
REASONS: Final[tuple[Reason, ...]] = ("buffer_full", "unfit", "writer_died", "shutdown")


class LogMetrics:
    """One process writes one log."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.rows = Counter(
            "windtunnel_serving_log_rows",
            "Rows of the prediction log that are in the object store.",
            registry=registry,
        )
        self._drops = Counter(
            "windtunnel_serving_log_drops",
            "Rows that should be in the prediction log and are not (buffer_full: the object store is away or "
            "slow; unfit: no file can be made of them; writer_died: again and again; shutdown: too late).",
            ("reason",),
            registry=registry,
        )
        for reason in REASONS:
            self._drops.labels(reason)
        self.buffered_bytes = Gauge(
            "windtunnel_serving_log_buffered_bytes",
            "Bytes of the prediction log that are not stored yet.",
            registry=registry,
        )
        self.store_failures = Counter(
            "windtunnel_serving_log_store_failures",
            "Times that the object store did not take a file of the prediction log.",
            registry=registry,
        )
        self.writer_restarts = Counter(
            "windtunnel_serving_log_writer_restarts",
            "Times that the process that writes the prediction log was started again.",
            registry=registry,
        )

    def dropped(self, reason: Reason, rows: int) -> None:
        """So many rows are lost."""
        self._drops.labels(reason).inc(rows)

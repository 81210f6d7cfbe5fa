"""Online stores for Feast's Spark engine: Feast's own, where executors write so that any order is right.

Executors of several slices write at once and their tasks are repeated when they fail. Feast's Redis store
would read a key's timestamp first and write later, so that an older row could pass a newer one, and never
replace a row of a corrected day; its SQLite store does not compare at all.
"""

from __future__ import annotations

import fcntl
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from feast.infra.online_stores.redis import RedisOnlineStore, RedisOnlineStoreConfig
from feast.infra.online_stores.sqlite import SqliteOnlineStore, SqliteOnlineStoreConfig
from pyspark.accumulators import AccumulatorParam

from windtunnel.features.online.generic_writer import write_newer
from windtunnel.features.online.materialization import MaterializationReport
from windtunnel.features.online.redis_writer import RedisWriter

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from feast import FeatureView, RepoConfig

    from windtunnel.features.online.generic_writer import FeastRow


ONLINE_STORES = {
    "redis": "windtunnel.features.spark.online.SparkRedisOnlineStore",
    "sqlite": "windtunnel.features.spark.online.SparkSqliteOnlineStore",
}
"""By the type of Feast's own; what it takes, and `totals`."""


class SparkRedisOnlineStoreConfig(RedisOnlineStoreConfig):  # type: ignore[misc]  # Feast publishes no types
    """Feast's Redis store, and where its writes are added up."""

    type: Literal["windtunnel.features.spark.online.SparkRedisOnlineStore"]
    totals: Any
    """Spark's accumulator of a MaterializationReport."""


class SparkRedisOnlineStore(RedisOnlineStore):  # type: ignore[misc]
    """The server itself compares what it holds with what comes."""

    def online_write_batch(
        self,
        config: RepoConfig,
        table: FeatureView,
        data: list[FeastRow],
        progress: Callable[[int], Any] | None,  # noqa: ARG002  (on an executor nobody looks)
    ) -> None:
        keys = {field.name: field.dtype.to_value_type() for field in table.entity_columns}
        writer = RedisWriter(config, table, keys)
        try:
            writer.write_messages(data)
            writer.close()
        except BaseException:
            writer.abort()
            raise
        report = MaterializationReport(writer.written, writer.skipped, writer.bytes_sent, _newest(data))
        config.online_store.totals.add(report)


class SparkSqliteOnlineStoreConfig(SqliteOnlineStoreConfig):  # type: ignore[misc]
    """Feast's SQLite store, and where its writes are added up."""

    type: Literal["windtunnel.features.spark.online.SparkSqliteOnlineStore"]
    totals: Any
    """Spark's accumulator of a MaterializationReport."""


class SparkSqliteOnlineStore(SqliteOnlineStore):  # type: ignore[misc]
    """A file takes one writer at a time, and executors are several."""

    def online_write_batch(
        self,
        config: RepoConfig,
        table: FeatureView,
        data: list[FeastRow],
        progress: Callable[[int], Any] | None,  # noqa: ARG002
    ) -> None:
        with Path(f"{config.online_store.path}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            written = write_newer(SqliteOnlineStore(), config, table, data)
        report = MaterializationReport(
            written=len(written),
            skipped=len(data) - len(written),
            bytes=sum(value.ByteSize() for row in written for value in row[1].values()),
            newest_event=_newest(data),
        )
        config.online_store.totals.add(report)


class ReportSum(AccumulatorParam):  # type: ignore[misc]  # pyspark's types are not looked at
    """How Spark adds up what its tasks report."""

    def zero(self, value: MaterializationReport) -> MaterializationReport:  # noqa: ARG002  (Spark's signature)
        return MaterializationReport()

    def addInPlace(self, one: MaterializationReport, other: MaterializationReport) -> MaterializationReport:
        return one + other


def _newest(rows: list[FeastRow]) -> datetime | None:
    """In UTC, which is what Feast means by a moment without a zone."""
    moments = (row[2] if row[2].tzinfo else row[2].replace(tzinfo=UTC) for row in rows)
    return max(moments, default=None)

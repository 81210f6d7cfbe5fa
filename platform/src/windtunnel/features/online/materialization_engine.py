"""Feast's batch engine of a lifecycle: newest row per key from the offline store → online store.

Rows come in bounded batches where the offline store gives them so (`batches()` of its job), and leave through
`redis_writer` for Redis or Valkey, through `generic_writer` for any other online store. Feature views with
transformations of their own are computed by Feast's local engine first. A failure is raised, never returned
as a job with an error in it: so Feast does not record an interval that was not written.
"""

from __future__ import annotations

import logging
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, Protocol

import pyarrow as pa
import pyarrow.compute as pc
from feast.feature_view import DUMMY_ENTITY_ID, DUMMY_ENTITY_VAL
from feast.infra.common.materialization_job import MaterializationJobStatus
from feast.infra.compute_engines.local.compute import LocalComputeEngine
from feast.infra.compute_engines.local.feature_builder import LocalFeatureBuilder
from feast.infra.compute_engines.local.job import LocalMaterializationJob
from feast.repo_config import FeastConfigBaseModel
from feast.utils import _get_column_names

from windtunnel.errors import DataError
from windtunnel.features.online.generic_writer import GenericWriter
from windtunnel.features.online.materialization import ENGINE, MaterializationReport
from windtunnel.features.online.redis_writer import RedisWriter, takes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from feast import FeatureView
    from feast.infra.common.materialization_job import MaterializationTask
    from feast.infra.registry.base_registry import BaseRegistry

_log = logging.getLogger(__name__)
_LOG_SECONDS = 10.0


class Writer(Protocol):
    """Counts grow as rows arrive in the store; after `close` all have arrived."""

    @property
    def written(self) -> int: ...
    @property
    def skipped(self) -> int: ...
    @property
    def bytes_sent(self) -> int: ...
    def write(self, rows: pa.Table) -> None: ...
    def close(self) -> None: ...
    def abort(self) -> None: ...


class BatchMaterializationEngineConfig(FeastConfigBaseModel):  # type: ignore[misc]  # Feast publishes no types
    """Nothing to choose."""

    type: Literal["windtunnel.features.online.materialization_engine.BatchMaterializationEngine"] = ENGINE  # type: ignore[assignment]


class BatchMaterializationEngine(LocalComputeEngine):  # type: ignore[misc]
    """`totals` sums up what all its materializations wrote."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs.pop("type", None)
        super().__init__(**kwargs)
        self.totals = MaterializationReport()

    def _materialize_one(
        self, registry: BaseRegistry, task: MaterializationTask, **_options: Any
    ) -> LocalMaterializationJob:
        view = task.feature_view
        keys = {field.name: field.dtype.to_value_type() for field in view.entity_columns}
        newest: datetime | None = None
        progress = _Progress(task)
        writer = self._writer(view, keys)
        try:
            for rows in self._rows(registry, task):
                if not rows.num_rows:
                    continue
                newest = max(filter(None, (newest, _newest(rows, view))), default=None)
                if view.online:
                    writer.write(rows)
                progress.add(rows.num_rows)
                if view.offline:
                    self.offline_store.offline_write_batch(self.repo_config, view, rows, None)
            writer.close()
        finally:
            writer.abort()
            self.totals += MaterializationReport(writer.written, writer.skipped, writer.bytes_sent, newest)
            progress.close()
        return LocalMaterializationJob(
            job_id=f"{view.name}-{task.start_time}-{task.end_time}", status=MaterializationJobStatus.SUCCEEDED
        )

    def _writer(self, view: FeatureView, keys: dict[str, Any]) -> Writer:
        if takes(self.repo_config):
            return RedisWriter(self.repo_config, view, keys)
        if self.repo_config.online_store.type == "redis":
            _log.warning(
                "this kind of Redis is written by Feast's own client: slower, and two writers at once on the "
                "same keys may leave the older row"
            )
        return GenericWriter(self.repo_config, self.online_store, view, keys)

    def _rows(self, registry: BaseRegistry, task: MaterializationTask) -> Iterator[pa.Table]:
        """The newest row of every key, in columns as the view names them."""
        view = task.feature_view
        if _is_computed(view):
            plan = _Plan(
                registry, task, backend=self._get_backend(self.get_execution_context(registry, task))
            )
            yield plan.build().execute(self.get_execution_context(registry, task)).data
            return
        entities = [registry.get_entity(name, task.project) for name in view.entities]
        join_keys, features, timestamp, created = _get_column_names(view, entities)
        job = self.offline_store.pull_latest_from_table_or_query(
            config=self.repo_config,
            data_source=view.batch_source,
            join_key_columns=join_keys,
            feature_name_columns=features,
            timestamp_field=timestamp,
            created_timestamp_column=created,
            start_date=task.start_time,
            end_date=task.end_time,
        )
        mapping = view.batch_source.field_mapping or {}
        for rows in job.batches() if hasattr(job, "batches") else (job.to_arrow(),):
            named = rows.rename_columns([mapping.get(name, name) for name in rows.column_names])
            yield _with_dummy_key(named, view)


class _Plan(LocalFeatureBuilder):  # type: ignore[misc]
    """Feast's own plan of a view, without its last step: the rows are written by us."""

    def build_output_nodes(self, view: FeatureView, input_node: Any) -> Any:  # noqa: ARG002  (Feast's signature)
        return input_node


def _is_computed(view: FeatureView) -> bool:
    """Whether its rows are made by Feast out of what the source holds."""
    return bool(
        getattr(view, "feature_transformation", None)
        or getattr(view, "aggregations", None)
        or getattr(view, "source_views", None)
        or getattr(view, "enable_validation", False)
    )


def _with_dummy_key(rows: pa.Table, view: FeatureView) -> pa.Table:
    """Feast gives a view without entities one key, which not every offline store adds."""
    names = [field.name for field in view.entity_columns]
    if names != [DUMMY_ENTITY_ID] or DUMMY_ENTITY_ID in rows.column_names:
        return rows
    return rows.append_column(DUMMY_ENTITY_ID, pa.array([DUMMY_ENTITY_VAL] * rows.num_rows, pa.string()))


def _newest(rows: pa.Table, view: FeatureView) -> datetime | None:
    name = view.batch_source.timestamp_field
    if name not in rows.column_names:
        raise DataError(
            f"there is no column {name!r}",
            where=f"view {view.name!r}",
            fix="see its source's timestamp_field",
        )
    found = pc.max(rows[name].cast(pa.timestamp("us"), safe=False)).as_py()
    return found.replace(tzinfo=UTC) if found else None


class _Progress:
    """Feast's progress bar on a terminal, a line every few seconds elsewhere."""

    def __init__(self, task: MaterializationTask) -> None:
        self._bar = task.tqdm_builder(None) if task.tqdm_builder and sys.stderr.isatty() else None
        self._view = task.feature_view.name
        self._rows = 0
        self._said = time.monotonic()

    def add(self, rows: int) -> None:
        self._rows += rows
        if self._bar is not None:
            self._bar.update(rows)
        elif time.monotonic() - self._said > _LOG_SECONDS:
            self._said = time.monotonic()
            _log.info("%s: %d rows so far", self._view, self._rows)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()

"""What Feast gets to run: a RetrievalJob for each kind of question.

Each has `batches()`, which yields Arrow tables in bounded memory, besides Feast's `to_arrow` and `to_df`.
"""

# ruff: noqa: TID253, ARG002 - only Feast's plugin imports this, and Feast says what the arguments are.
from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa
from feast.feature_view import DUMMY_ENTITY_ID, DUMMY_ENTITY_VAL
from feast.infra.offline_stores.offline_store import RetrievalJob

from windtunnel.features.offline.arrow_types import to_arrow
from windtunnel.features.offline.as_of_join import Asked, features_at
from windtunnel.features.offline.chunks import chunks
from windtunnel.features.offline.newest import newest
from windtunnel.features.offline.parquet_rows import reading
from windtunnel.features.offline.saved_dataset import save

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime
    from pathlib import Path

    from feast.infra.offline_stores.offline_store import RetrievalMetadata
    from feast.on_demand_feature_view import OnDemandFeatureView
    from feast.saved_dataset import SavedDatasetStorage

    from windtunnel.features.offline.as_of_join import FeatureRows
    from windtunnel.features.offline.entity_rows import EntityRows
    from windtunnel.features.offline.place import Place

BATCH_ROWS = 250_000


@dataclass(frozen=True)
class StoredView:
    """A view's rows and where they are."""

    rows: FeatureRows
    place: Place


class _Job(RetrievalJob):  # type: ignore[misc]
    """What all of ours share."""

    def __init__(self, repo_path: Path | None) -> None:
        self._repo_path = repo_path

    def batches(self) -> Iterator[pa.Table]:
        """The answer in pieces; at least one."""
        raise NotImplementedError

    def _to_arrow_internal(self, timeout: int | None = None) -> pa.Table:
        return pa.concat_tables(self.batches())

    def _to_df_internal(self, timeout: int | None = None) -> Any:
        return self._to_arrow_internal().to_pandas()

    @property
    def full_feature_names(self) -> bool:
        return False

    @property
    def on_demand_feature_views(self) -> list[OnDemandFeatureView]:
        return []

    @property
    def metadata(self) -> RetrievalMetadata | None:
        return None

    def persist(
        self, storage: SavedDatasetStorage, allow_overwrite: bool = False, timeout: int | None = None
    ) -> None:
        """Write the answer to a SavedDatasetFileStorage, of which an earlier one is replaced if allowed."""
        save(self.to_arrow(), storage, self._repo_path, overwrite=allow_overwrite)


class HistoricalJob(_Job):
    """Entity rows with features."""

    def __init__(
        self,
        asked: EntityRows,
        views: Sequence[StoredView],
        *,
        known_then: bool,
        on_demand: list[OnDemandFeatureView],
        full_feature_names: bool,
        metadata: RetrievalMetadata,
        repo_path: Path | None,
    ) -> None:
        super().__init__(repo_path)
        self._asked = asked
        self._views = views
        self._known_then = known_then
        self._on_demand = on_demand
        self._full_feature_names = full_feature_names
        self._metadata = metadata

    def batches(self) -> Iterator[pa.Table]:
        table = self._asked.table
        keys = [key for view in self._views for key in view.rows.keys]
        asked = Asked(self._asked.asked(keys), self._asked.moment)
        for view in self._views:
            rows = view.rows
            with reading(view.place):
                features = features_at(asked, rows, known_then=self._known_then)
            answer = to_arrow(features)
            for field, column in zip(answer.schema, answer.columns, strict=True):
                table = table.append_column(field, column)
        yield table

    @property
    def full_feature_names(self) -> bool:
        return self._full_feature_names

    @property
    def on_demand_feature_views(self) -> list[OnDemandFeatureView]:
        return self._on_demand

    @property
    def metadata(self) -> RetrievalMetadata:
        return self._metadata


class NewestJob(_Job):
    """The newest row of each entity."""

    def __init__(
        self, view: StoredView, first: datetime | None, last: datetime | None, repo_path: Path | None
    ) -> None:
        super().__init__(repo_path)
        self._view, self._first, self._last = view, first, last

    def batches(self) -> Iterator[pa.Table]:
        with reading(self._view.place):
            for frame in newest(self._view.rows, self._first, self._last):
                for start in range(0, max(frame.height, 1), BATCH_ROWS):
                    yield self._table(frame.slice(start, BATCH_ROWS))

    def _table(self, frame: pl.DataFrame) -> pa.Table:
        table = to_arrow(frame.select(_order(self._view.rows)))
        if self._view.rows.keys:
            return table
        # Feast writes a view without entities under a key of its own.
        nobody = pa.repeat(pa.scalar(DUMMY_ENTITY_VAL, pa.string()), table.num_rows)
        return table.append_column(DUMMY_ENTITY_ID, nobody)


class RowsJob(_Job):
    """All rows of a window, in storage order."""

    def __init__(
        self, view: StoredView, first: datetime | None, last: datetime | None, repo_path: Path | None
    ) -> None:
        super().__init__(repo_path)
        self._view, self._first, self._last = view, first, last

    def batches(self) -> Iterator[pa.Table]:
        rows = self._view.rows
        schema = rows.schema()
        inside = rows.within(self._first, self._last)
        with reading(self._view.place):
            yield to_arrow(pl.DataFrame(schema=schema).select(_order(rows)))
            for chunk in chunks(rows.rows.select(rows.columns()).filter(inside)):
                for start in range(0, chunk.rows.height, BATCH_ROWS):
                    yield to_arrow(chunk.rows.slice(start, BATCH_ROWS).select(_order(rows)))


def _order(rows: FeatureRows) -> list[str]:
    """Columns as Feast's own stores give them: join keys, features, timestamps."""
    stamps = [rows.event_timestamp, *([rows.created] if rows.created else [])]
    return list(dict.fromkeys([*rows.keys.values(), *rows.features, *stamps]))

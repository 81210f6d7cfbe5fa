"""`AsofOfflineStore`: Feast's offline store over parquet files, with an as-of join.

    offline_store:
      type: windtunnel.features.offline.offline_store.AsofOfflineStore

Feast imports this module by that name; nothing of the platform does before it needs Feast. What an answer is
stands in `as_of_join`; what is read, in `parquet_rows`. The registry, the files and the answers are Feast's
own, so any other offline store of Feast can take over.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from feast.data_format import ParquetFormat
from feast.errors import FeastEntityDFMissingColumnsError
from feast.feature_view import DUMMY_ENTITY_ID
from feast.infra.offline_stores.file_source import FileLoggingDestination, FileSource
from feast.infra.offline_stores.offline_store import OfflineStore, RetrievalMetadata
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.repo_config import FeastConfigBaseModel
from feast.utils import _parse_feature_ref, compute_non_entity_date_range, make_tzaware
from pydantic import StrictStr  # noqa: TC002 (pydantic reads the annotation)

from windtunnel.errors import DataError
from windtunnel.features.offline.arrow_types import to_arrow
from windtunnel.features.offline.as_of_join import FeatureRows, require_distinct
from windtunnel.features.offline.entity_rows import entities_between, read_entity_rows
from windtunnel.features.offline.offline_write import write_rows
from windtunnel.features.offline.parquet_rows import find, reading, scan
from windtunnel.features.offline.place import Place
from windtunnel.features.offline.retrieval import HistoricalJob, NewestJob, RowsJob, StoredView

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime, timedelta
    from pathlib import Path

    from feast.data_source import DataSource
    from feast.feature_logging import LoggingConfig, LoggingSource
    from feast.feature_view import FeatureView
    from feast.infra.offline_stores.offline_store import RetrievalJob
    from feast.infra.registry.base_registry import BaseRegistry
    from feast.repo_config import RepoConfig

    from windtunnel.features.offline.entity_rows import EntityRows


class AsofOfflineStoreConfig(FeastConfigBaseModel):  # type: ignore[misc]
    """There is nothing to set: credentials and endpoint of S3 come from AWS_… or from the source."""

    type: StrictStr = "windtunnel.features.offline.offline_store.AsofOfflineStore"


class AsofOfflineStore(OfflineStore):  # type: ignore[misc]
    """Feast's interface, over the FileSources of the feature views."""

    supports_filter_by_created_timestamp = True

    @staticmethod
    def get_historical_features(
        config: RepoConfig,
        feature_views: Sequence[FeatureView],
        feature_refs: list[str],
        entity_df: Any,
        registry: BaseRegistry,
        project: str,
        full_feature_names: bool = False,
        filter_by_created_timestamp: bool = False,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
    ) -> RetrievalJob:
        """The entity rows with the features that were known at their moments.

        `entity_df` is a pandas DataFrame, an Arrow table, a polars DataFrame, or the path or s3:// URI of
        parquet. When it is None, the entity rows are the entities with feature rows in [start_date,
        end_date], asked at end_date.
        """
        views = [
            _Requested(config, view, _features(view, feature_refs, full_feature_names))
            for view in feature_views
        ]
        if entity_df is None:
            first, last = compute_non_entity_date_range(
                feature_views, start_date=start_date, end_date=end_date
            )
            asked = entities_between([view.open(first, last).rows for view in views], first, last)
        else:
            asked = read_entity_rows(entity_df, config.repo_path)
        _require_keys(asked, views)
        first, last = asked.bounds()
        opened = [view.open(first, last) for view in views]
        require_distinct([*asked.columns, *(name for view in views for name in view.features.values())])
        return HistoricalJob(
            asked,
            opened,
            known_then=filter_by_created_timestamp,
            on_demand=OnDemandFeatureView.get_requested_odfvs(feature_refs, project, registry),
            full_feature_names=full_feature_names,
            metadata=RetrievalMetadata(
                features=feature_refs,
                keys=[name for name in asked.columns if name != asked.moment],
                min_event_timestamp=first,
                max_event_timestamp=last,
            ),
            repo_path=config.repo_path,
        )

    @staticmethod
    def pull_latest_from_table_or_query(
        config: RepoConfig,
        data_source: DataSource,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None,
        start_date: datetime,
        end_date: datetime,
    ) -> RetrievalJob:
        """The newest row of each entity in [start_date, end_date]; rows with a null key belong to none."""
        first, last = make_tzaware(start_date), make_tzaware(end_date)
        columns = _Columns(join_key_columns, feature_name_columns, timestamp_field, created_timestamp_column)
        return NewestJob(columns.of(config, data_source, first, last), first, last, config.repo_path)

    @staticmethod
    def pull_all_from_table_or_query(
        config: RepoConfig,
        data_source: DataSource,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None = None,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
    ) -> RetrievalJob:
        """All rows in [start_date, end_date], in storage order."""
        first = make_tzaware(start_date) if start_date else None
        last = make_tzaware(end_date) if end_date else None
        columns = _Columns(join_key_columns, feature_name_columns, timestamp_field, created_timestamp_column)
        return RowsJob(columns.of(config, data_source, first, last), first, last, config.repo_path)

    @staticmethod
    def offline_write_batch(
        config: RepoConfig,
        feature_view: FeatureView,
        table: pa.Table,
        progress: Callable[[int], Any] | None,
    ) -> None:
        """Add rows to the view's source; the same rows again add nothing (see `offline_write`)."""
        source = feature_view.batch_source
        place = place_of(config, source)
        # Feast hands them over by the names of the features; files have the source's.
        stored = {new: old for old, new in source.field_mapping.items()}
        table = table.rename_columns([stored.get(name, name) for name in table.column_names])
        # pandas' index, which Feast turns into a column.
        table = table.drop_columns([name for name in table.column_names if name.startswith("__index_level_")])
        needed = [*feature_view.entity_columns, *feature_view.features]
        for name in (stored.get(field.name, field.name) for field in needed):
            if name not in table.column_names and name != DUMMY_ENTITY_ID:
                raise DataError(
                    f"the rows have no column {name!r}",
                    where=f"feature view {feature_view.name!r}",
                    fix=f"they have {', '.join(table.column_names) or 'none'}",
                )
        write_rows(place, table, stored.get(source.timestamp_field, source.timestamp_field))
        if progress:
            progress(table.num_rows)

    @staticmethod
    def write_logged_features(
        config: RepoConfig,
        data: pa.Table | Path,
        source: LoggingSource,
        logging_config: LoggingConfig,
        registry: BaseRegistry,  # noqa: ARG004 (Feast passes it by name)
    ) -> None:
        """Add logged features to a FileLoggingDestination."""
        destination = logging_config.destination
        if not isinstance(destination, FileLoggingDestination):
            raise DataError(
                f"logged features cannot go to {type(destination).__name__}",
                where="offline store",
                fix="use FileLoggingDestination(path=…)",
            )
        table = data if isinstance(data, pa.Table) else to_arrow(scan(Place(str(data))).collect())
        place = place_of(config, destination.to_data_source())
        write_rows(place, table, source.get_log_timestamp_column())

    def get_table_column_names_and_types_from_data_source(
        self, config: RepoConfig, data_source: DataSource
    ) -> Iterable[tuple[str, str]]:
        """Columns of the files and their Arrow types; Feast's own looks at one file or a plain directory."""
        place = place_of(config, data_source)
        with reading(place):
            schema = to_arrow(scan(place).head(0).collect()).schema
        return [(field.name, str(field.type)) for field in schema]

    def validate_data_source(self, config: RepoConfig, data_source: DataSource) -> None:
        """Raises DataError for a source that is no parquet; files may come later."""
        place_of(config, data_source)


@dataclass(frozen=True)
class _Requested:
    """A feature view of which features are asked for."""

    config: RepoConfig
    view: FeatureView
    features: dict[str, str]
    """Feature → column of the answer."""

    @property
    def keys(self) -> dict[str, str]:
        """Column of the entity rows → join key of the view."""
        names = [field.name for field in self.view.entity_columns if field.name != DUMMY_ENTITY_ID]
        return {self.view.projection.join_key_map.get(name, name): name for name in names}

    def open(self, first: datetime, last: datetime) -> StoredView:
        """Its feature rows that moments of [first, last] may be joined with."""
        source = self.view.batch_source
        if source is None:
            raise DataError("it has no batch_source to read", where=f"feature view {self.view.name!r}")
        place = place_of(self.config, source)
        oldest = _before(first, self.view.ttl)
        found = find(place, oldest, last)
        known = found.rows.collect_schema().names()
        stored: dict[str, str] = {new: old for old, new in source.field_mapping.items() if old in known}

        def column(name: str) -> str:
            return stored.get(name, name)

        opened = FeatureRows(
            found.rows,
            {asked: column(key) for asked, key in self.keys.items()},
            column(source.timestamp_field),
            column(source.created_timestamp_column) if source.created_timestamp_column else None,
            self.view.ttl,
            {column(name): answer for name, answer in self.features.items()},
            f"feature view {self.view.name!r} ({place.uri})",
        )
        if not found.bounded:
            # Statistics in the files say what need not be read.
            opened = replace(opened, rows=found.rows.filter(opened.within(oldest, last)))
        return StoredView(opened, place)


@dataclass(frozen=True)
class _Columns:
    """Columns of a source as Feast asks for them, already by their names in the files; no features: all."""

    keys: list[str]
    features: list[str]
    event_timestamp: str
    created: str | None

    def of(
        self, config: RepoConfig, source: DataSource, first: datetime | None, last: datetime | None
    ) -> StoredView:
        place = place_of(config, source)
        rows = scan(place, first=first, last=last)
        own = {*self.keys, self.event_timestamp, self.created}
        others = [name for name in rows.collect_schema().names() if name not in own]
        columns = FeatureRows(
            rows,
            {key: key for key in self.keys},
            self.event_timestamp,
            self.created or None,
            None,
            {name: name for name in self.features or others},
            place.uri,
        )
        columns.schema()
        return StoredView(columns, place)


def place_of(config: RepoConfig, source: DataSource) -> Place:
    """Where the files of a FileSource are; raises DataError for what is no parquet."""
    if not isinstance(source, FileSource) or not isinstance(source.file_format, ParquetFormat | None):
        raise DataError(
            f"{type(source).__name__} {source.name!r} is no parquet",
            where="offline store",
            fix="use a FileSource over parquet, or another of Feast's offline stores",
        )
    uri = str(source.path)
    if not uri.startswith(("s3://", "file://")):
        uri = str(FileSource.get_uri_for_file_path(config.repo_path, uri))
    return Place(uri, source.s3_endpoint_override or "", source.resolve_credentials() or {})


def _features(view: FeatureView, refs: Iterable[str], full_feature_names: bool) -> dict[str, str]:
    """Feature → column of the answer, of those references that are to this view."""
    wanted = view.projection.name_to_use()
    prefix = f"{view.projection.name_alias or view.name}__" if full_feature_names else ""
    names = {}
    for ref in refs:
        name, version, feature = _parse_feature_ref(ref)
        if (name if version is None else f"{name}@v{version}") == wanted:
            names[feature] = prefix + feature
    return names


def _require_keys(asked: EntityRows, views: Iterable[_Requested]) -> None:
    expected = {key for view in views for key in view.keys}
    missing = expected - set(asked.columns)
    if missing:
        raise FeastEntityDFMissingColumnsError(expected, missing)


def _before(moment: datetime, ttl: timedelta | None) -> datetime | None:
    """The oldest event timestamp that counts at that moment."""
    try:
        return moment - ttl if ttl else None
    except OverflowError:
        return None

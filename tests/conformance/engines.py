"""Offline stores of Feast, asked through its public API, `FeatureStore.get_historical_features`."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import pyarrow.parquet as pq
from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.data_format import ParquetFormat
from feast.types import Array, Float64, Int64, String

from .histories import ttl_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from feast.data_source import DataSource

    from .histories import History
    from .oracle import Row, View

FEATURES = {"number": Int64, "maybe": String, "many": Array(Float64)}
VALUE_TYPES = {
    "int": ValueType.INT64,
    "uint": ValueType.INT64,
    "double": ValueType.DOUBLE,
    "string": ValueType.STRING,
    "large_string": ValueType.STRING,
    "bool": ValueType.BOOL,
    "binary": ValueType.BYTES,
}


def in_directory(view: View, directory: Path) -> DataSource:
    """What the platform's store and Dask read."""
    return _file_source(view, str(directory))


def by_glob(view: View, directory: Path) -> DataSource:
    """What DuckDB reads."""
    return _file_source(view, f"{directory}/*.parquet")


def _file_source(view: View, path: str) -> DataSource:
    return FileSource(
        path=path,
        file_format=ParquetFormat(),
        timestamp_field=view.event,
        created_timestamp_column=view.created or "",
    )


@dataclass(frozen=True)
class Engine:
    """An offline store, and what Feast wants for it."""

    name: str
    offline_store: dict[str, Any]
    source: Callable[[View, Path], DataSource] = in_directory
    """A view's source over a directory of parquet files."""

    def ask(
        self, history: History, directory: Path, entity_rows: Literal["pandas", "arrow", "parquet"] = "pandas"
    ) -> list[Row]:
        """The answer, in the order in which the engine gives it: `row` and the features of all views.

        `directory` is empty; the history's files and the registry go there.
        """
        asked: Any = history.entity_table()
        if entity_rows == "pandas":
            asked = asked.to_pandas()
        elif entity_rows == "parquet":
            pq.write_table(asked, directory / "asked.parquet")
            asked = str(directory / "asked.parquet")
        with contextlib.redirect_stdout(io.StringIO()):
            store = self.store(history, directory)
            job = store.get_historical_features(
                entity_df=asked,
                features=store.get_feature_service("all"),
                full_feature_names=True,
                filter_by_created_timestamp=history.known_then,
            )
            table = job.to_arrow()
        names = {"row": "row"} | {
            f"{view.name}__{stored}": asked
            for view in history.views
            for stored, asked in view.features.items()
        }
        rows = table.select(list(names)).rename_columns(list(names.values())).to_pylist()
        return list(rows)

    def store(self, history: History, directory: Path) -> FeatureStore:
        """A FeatureStore over the history's files, with a feature service `all`."""
        config = RepoConfig(
            project="conformance",
            provider="local",
            registry=str(directory / "registry.pb"),
            offline_store=self.offline_store,
            online_store={"type": "sqlite", "path": str(directory / "online.db")},
            entity_key_serialization_version=3,
            repo_path=directory,
        )
        kind = VALUE_TYPES[str(history.keys.stored).rstrip("0123456789")]
        entities = {
            "k": Entity(name="k", join_keys=["k"], value_type=kind),
            "c": Entity(name="c", join_keys=["c"], value_type=ValueType.STRING),
        }
        views, asked = [], []
        for view in history.views:
            files = directory / view.name
            write(history, view, files)
            made = FeatureView(
                name=view.name,
                entities=[entities[stored] for stored in view.keys.values()],
                ttl=ttl_of(view),
                schema=[Field(name=name, dtype=dtype) for name, dtype in FEATURES.items()],
                source=self.source(view, files),
            )
            views.append(made)
            renamed = {stored: asked for asked, stored in view.keys.items() if asked != stored}
            asked.append(made.with_join_key_map(renamed) if renamed else made)
        store = FeatureStore(config=config)
        store.apply([*entities.values(), *views, FeatureService(name="all", features=asked)])
        return store


def write(history: History, view: View, directory: Path) -> None:
    """The view's rows as files whose names are in storage order."""
    directory.mkdir()
    table = history.table(view)
    pieces = max(1, min(history.cut, table.num_rows))
    for number in range(pieces):
        first = table.num_rows * number // pieces
        end = table.num_rows * (number + 1) // pieces
        pq.write_table(table.slice(first, end - first), directory / f"part-{number}.parquet")


ASOF = Engine("asof", {"type": "windtunnel.features.offline.offline_store.AsofOfflineStore"})
DUCKDB = Engine("duckdb", {"type": "duckdb"}, by_glob)
DASK = Engine("dask", {"type": "dask"})

"""One engine, one case, one process: `python -m tests.bench.features.join_engines <engine> <directory>`.

Prints what the question took: CPU seconds and wall time between having the entity rows and having the
answer, and the peak memory of the process. Imports and the registry come before it.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import sys
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
from tests.bench.features.join_cases import read_views

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa
    from tests.bench.features.join_cases import CaseView

OURS = {"type": "windtunnel.features.offline.offline_store.AsofOfflineStore"}


def feast_question(
    directory: Path, views: list[CaseView], offline_store: dict[str, Any]
) -> Callable[[], pa.Table]:
    """Asked as users ask Feast: pandas entity rows, a list of features."""
    from windtunnel.features.feast_import import prepare_feast

    prepare_feast()
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
    from feast.data_format import ParquetFormat
    from feast.types import Float64

    config = RepoConfig(
        project="bench",
        provider="local",
        registry=str(directory / f"registry-{os.getpid()}.pb"),
        offline_store=offline_store,
        online_store={"type": "sqlite", "path": str(directory / "online.db")},
        entity_key_serialization_version=3,
        repo_path=directory,
    )
    asked = pl.read_parquet(directory / "asked.parquet")
    kinds = {
        key: ValueType.STRING if asked.schema[key] == pl.String else ValueType.INT64
        for key in asked.columns
        if key != "event_timestamp"
    }
    entities = {key: Entity(name=key, join_keys=[key], value_type=kind) for key, kind in kinds.items()}
    made = [
        FeatureView(
            name=view.name,
            entities=[entities[key] for key in view.keys],
            ttl=view.ttl,
            schema=[Field(name=name, dtype=Float64) for name in view.features],
            source=FileSource(
                path=f"{directory}/{view.name}/*.parquet",
                file_format=ParquetFormat(),
                timestamp_field="event_timestamp",
                created_timestamp_column="created",
            ),
        )
        for view in views
    ]
    store = FeatureStore(config=config)
    store.apply([*entities.values(), *made])
    entity_rows = asked.to_pandas()
    names = [f"{view.name}:{name}" for view in views for name in view.features]

    def ask() -> pa.Table:
        return store.get_historical_features(entity_rows, names, filter_by_created_timestamp=True).to_arrow()

    return ask


def polars_question(directory: Path, views: list[CaseView]) -> Callable[[], pa.Table]:
    asked = pl.read_parquet(directory / "asked.parquet")

    def ask() -> pa.Table:
        answer = asked.sort("event_timestamp")
        for view in views:
            rows = pl.read_parquet(
                f"{directory}/{view.name}/*.parquet", columns=[*view.keys, "event_timestamp", *view.features]
            )
            answer = answer.join_asof(
                rows.sort("event_timestamp"), on="event_timestamp", by=view.keys, tolerance=view.ttl,
                check_sortedness=False,
            )  # fmt: skip
        return answer.to_arrow()

    return ask


def duckdb_question(directory: Path, views: list[CaseView]) -> Callable[[], pa.Table]:
    import duckdb

    connection = duckdb.connect()
    connection.execute("SET TimeZone='UTC'")
    asked = pl.read_parquet(directory / "asked.parquet").to_arrow()
    connection.register("asked", asked)
    chosen, joins = ["asked.*"], []
    for view in views:
        equal = " AND ".join(f'asked."{key}" = {view.name}."{key}"' for key in view.keys)
        joins.append(
            f"ASOF LEFT JOIN read_parquet('{directory}/{view.name}/*.parquet') {view.name} ON {equal} "
            f"AND asked.event_timestamp >= {view.name}.event_timestamp"
        )
        inside = f"{view.name}.event_timestamp >= asked.event_timestamp - INTERVAL {view.ttl_days} DAY"
        chosen += [f'CASE WHEN {inside} THEN {view.name}."{name}" END AS "{name}"' for name in view.features]

    def ask() -> pa.Table:
        return connection.execute(f"SELECT {', '.join(chosen)} FROM asked {' '.join(joins)}").to_arrow_table()

    return ask


def cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main(engine: str, directory: Path) -> None:
    warnings.simplefilter("ignore")
    views = read_views(directory)
    with contextlib.redirect_stdout(io.StringIO()):
        if engine == "ours":
            ask = feast_question(directory, views, OURS)
        elif engine == "feast":
            ask = feast_question(directory, views, {"type": "duckdb"})
        else:
            ask = {"polars": polars_question, "duckdb": duckdb_question}[engine](directory, views)
        before, begun = cpu(), time.monotonic()
        table = ask()
        took, wall = cpu() - before, time.monotonic() - begun
    names = [name for view in views for name in view.features]
    sums = pl.from_arrow(table.select(names)).select(pl.all().sum())  # type: ignore[union-attr]
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(
        json.dumps(
            {
                "cpu": took,
                "wall": wall,
                "memory": memory,
                "rows": table.num_rows,
                "sum": round(sum(sums.row(0)), 3),
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))

"""One engine, one view, one process: `python -m tests.bench.features.materialize_run ENGINE DIRECTORY PORT`.

Prints what each materialization took, the first into an empty store: wall time and CPU seconds of
`FeatureStore.materialize` (imports and `apply` come before it), CPU seconds of the Redis meanwhile, and the
peak memory of the process so far.
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
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import redis

FEATURES = [f"f{number}" for number in range(10)]
START = datetime(2026, 3, 1, tzinfo=UTC)
DAYS = 7
TTL = timedelta(days=14)
PASSES = {"ours": 2}
"""How often; the others are not waited for a second time."""


def configuration(engine: str, port: int) -> dict[str, Any]:
    online = {"type": "redis", "connection_string": f"127.0.0.1:{port}"}
    if engine == "ours":
        from windtunnel.features.materialization import ENGINE

        return {
            "offline_store": {"type": "windtunnel.features.offline_store.AsofOfflineStore"},
            "batch_engine": {"type": ENGINE},
            "online_store": online,
        }
    stock: dict[str, Any] = {"offline_store": {"type": "duckdb"}, "online_store": online}
    if engine == "feast, skip_dedup":
        online["skip_dedup"] = True
    elif engine == "feast, batches of 10,000":
        stock["materialization"] = {"online_write_batch_size": 10_000}
    return stock


def open_store(engine: str, directory: Path, port: int) -> Any:
    from windtunnel.features.feast_import import prepare_feast

    prepare_feast()
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
    from feast.data_format import ParquetFormat
    from feast.types import Float64, Int64

    config = RepoConfig(
        project="bench",
        provider="local",
        registry=str(directory / f"registry-{os.getpid()}.pb"),
        entity_key_serialization_version=3,
        repo_path=directory,
        **configuration(engine, port),
    )
    key = Entity(name="key", join_keys=["key"], value_type=ValueType.INT64)
    view = FeatureView(
        name="view",
        entities=[key],
        ttl=TTL,
        schema=[Field(name="key", dtype=Int64), *(Field(name=name, dtype=Float64) for name in FEATURES)],
        source=FileSource(
            path=f"{directory}/rows/*.parquet",
            file_format=ParquetFormat(),
            timestamp_field="event_timestamp",
            created_timestamp_column="created",
        ),
    )
    store = FeatureStore(config=config)
    store.apply([key, view])
    return store


def cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def server_cpu(client: redis.Redis) -> float:
    used = client.info("cpu")
    return float(used["used_cpu_user"] + used["used_cpu_sys"])


def main(engine: str, directory: Path, port: int) -> None:
    warnings.simplefilter("ignore")
    measured = []
    with redis.Redis(port=port) as client, contextlib.redirect_stdout(io.StringIO()):
        store = open_store(engine, directory, port)
        for _ in range(PASSES.get(engine, 1)):
            before = cpu(), server_cpu(client), time.monotonic()
            store.materialize(START, START + timedelta(days=DAYS), ["view"])
            wall = time.monotonic() - before[2]
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            measured.append([wall, cpu() - before[0], server_cpu(client) - before[1], peak])
    print(json.dumps(measured))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))

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
NO_TTL, BARE = "ours, no ttl", "bare HSETs"


def configuration(engine: str, port: int) -> dict[str, Any]:
    online = {"type": "redis", "connection_string": f"127.0.0.1:{port}"}
    if engine in ("ours", NO_TTL):
        from windtunnel.features.online.materialization import ENGINE

        return {
            "offline_store": {"type": "windtunnel.features.offline.offline_store.AsofOfflineStore"},
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
        ttl=None if engine == NO_TTL else TTL,
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


def bare(directory: Path, client: redis.Redis) -> tuple[float, float]:
    """(CPU seconds, wall time) of pipelined HSETs of the same fields, prepared beforehand: no comparison, no
    expiry, no encoding."""
    import polars as pl
    from feast import ValueType

    from windtunnel.features.online.byte_columns import data_of, join, offsets_in
    from windtunnel.features.online.online_layout import entity_key_head, feature_field
    from windtunnel.features.online.redis_upsert import _bulk, _bulk_strings
    from windtunnel.features.online.value_encoding import (
        encode_key_values,
        encode_timestamps,
        encode_values,
        event_nanos,
    )

    commands = []
    for rows in pl.read_parquet(f"{directory}/rows/*.parquet").iter_slices(10_000):
        table = rows.to_arrow()
        key = join(
            entity_key_head(["key"]), encode_key_values(table["key"], ValueType.INT64, "key"), b"bench"
        )
        stamps = encode_timestamps(*event_nanos(table["event_timestamp"], "event_timestamp"))
        parts: list[Any] = [b"*24\r\n" + _bulk(b"HSET"), _bulk_strings(key)]
        parts += [_bulk(b"_ts:view"), _bulk_strings(stamps)]
        for name in FEATURES:
            values = encode_values(table[name], ValueType.DOUBLE, name)
            parts += [_bulk(feature_field("view", name)), _bulk_strings(values)]
        commands.append(join(*parts))
    connection = client.connection_pool.get_connection()
    before, begun = cpu(), time.monotonic()
    for made in commands:
        ends = offsets_in(made)
        for first in range(0, len(made), 250):
            end = min(first + 250, len(made))
            connection.send_packed_command([data_of(made)[ends[first] : ends[end]]], check_health=False)
            for _ in range(end - first if first else 0):
                connection.read_response()
        for _ in range(min(250, len(made))):
            connection.read_response()
    return cpu() - before, time.monotonic() - begun


def cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def server_cpu(client: redis.Redis) -> float:
    used = client.info("cpu")
    return float(used["used_cpu_user"] + used["used_cpu_sys"])


def main(engine: str, directory: Path, port: int) -> None:
    warnings.simplefilter("ignore")
    measured = []
    if engine == BARE:
        with redis.Redis(port=port) as client:
            idle = server_cpu(client)
            used, wall = bare(directory, client)
            print(json.dumps([[wall, used, server_cpu(client) - idle, 0]]))
        return
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

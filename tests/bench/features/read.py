"""Reading 20 features from 3 views by entity: the online reader against raw HMGETs, Feast's SDK and
`feast serve`, on data that Feast's SDK has written.

The stores and servers have the first core, the client the second; rounds take turns, so that a neighbour's
noise hits all. A raw HMGET gets the same fields of the same three hashes in one round trip, and decodes
nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import platform
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import redis
import redis.asyncio
import uvloop
from redis_process import BINARY, MISSING, redis_process
from served_bundle import LIFECYCLE, make_version, served_model, tensor, write_served_model
from serving_process import ServingProcess
from tests.bench.features.online_store import (
    COLUMNS,
    ENTITIES,
    FEATURE_NAMES,
    PROJECT,
    VIEWS,
    entity,
    feast_serve,
    make_store,
    serve_request,
)
from tests.bench.load import load

from windtunnel.features.online.online_layout import (
    entity_key,
    entity_key_head,
    entity_value,
    feature_field,
    timestamp_field,
)
from windtunnel.features.online.online_reader import OnlineReader
from windtunnel.features.online.redis_address import RedisAddress
from windtunnel.features.online.redis_connection import Hmget, RedisConnection
from windtunnel.objects import open_store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from feast import FeatureStore

    Way = Callable[[int], Awaitable[object]]
    """Reads one entity, by its number."""

ROUNDS = 6
SECONDS = 0.7
SERVER_CORE, CLIENT_CORE = 0, 1
ON_SERVER_CORE = ("taskset", "-c", str(SERVER_CORE))
FIELDS = [
    [timestamp_field(view.name), *(feature_field(view.name, name) for name in view.features)]
    for view in VIEWS
]


RAW = "raw HMGET, our connection"
READER = "OnlineReader"
HTTP = "windtunnel serving over HTTP, with a model"
SERVE = "feast serve over HTTP, by feature service"
SERVE_NAMES = "feast serve over HTTP, by feature names"


@dataclass
class Line:
    """One way to read, and how long each read took in seconds."""

    name: str
    latencies: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return self._quantile(0.5)

    def row(self, reader: float) -> str:
        """Of the table; `reader` is the OnlineReader's median."""
        return (
            f"| {self.name} | {1e6 * self.median:,.0f} | {1e6 * self._quantile(0.99):,.0f} | "
            f"{self.median / reader:.2f} |"
        )

    def _quantile(self, share: float) -> float:
        return sorted(self.latencies)[int(share * (len(self.latencies) - 1))]


def main() -> None:
    if not BINARY:
        raise SystemExit(MISSING)
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        directory = Path(name)
        os.sched_setaffinity(0, {SERVER_CORE})
        port = stack.enter_context(redis_process())
        store = make_store(directory, port)
        os.sched_setaffinity(0, {CLIENT_CORE})
        serve = stack.enter_context(feast_serve(directory, ON_SERVER_CORE))
        ours = stack.enter_context(_serving(directory, port))
        servers = [
            (HTTP, ours.port, f"/v2/models/{LIFECYCLE}/infer", _infer_request(7)),
            (SERVE, serve, "/get-online-features", serve_request(7, by_service=True)),
            (SERVE_NAMES, serve, "/get-online-features", serve_request(7, by_service=False)),
        ]
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            lines = runner.run(_measure(store, port, servers))
        with redis.Redis(port=port) as client:
            server = client.info("server")["redis_version"]
    _report(lines, server)


def _report(lines: dict[str, Line], server: str) -> None:
    reader = lines[READER].median
    print(f"\n## Online read of 20 features from 3 views ({ENTITIES:,} entities in turn)\n")
    print("| by | p50, µs | p99, µs | p50 : OnlineReader |\n|---|---:|---:|---:|")
    for line in lines.values():
        print(line.row(reader))
    ratios = {
        "OnlineReader : raw HMGET on the same connection (target: at most 1.5)": reader / lines[RAW].median,
        "feast serve by feature service : OnlineReader (target: at least 20)": lines[SERVE].median / reader,
        "feast serve by feature names : OnlineReader": lines[SERVE_NAMES].median / reader,
        "feast serve : windtunnel serving, both over HTTP": lines[SERVE].median / lines[HTTP].median,
    }
    print("\n| p50 : p50 | |\n|---|---:|")
    for what, ratio in ratios.items():
        print(f"| {what} | {ratio:.2f} |")
    names = ("feast", "redis", "hiredis", "uvloop", "httptools")
    print(
        f"\nPython {platform.python_version()}, {', '.join(f'{name} {version(name)}' for name in names)}; "
        f"server {server}; {os.cpu_count()} cores."
    )


async def _measure(
    store: FeatureStore, port: int, servers: list[tuple[str, int, str, bytes]]
) -> dict[str, Line]:
    connection = RedisConnection(RedisAddress("127.0.0.1", port))
    reader = OnlineReader(connection, PROJECT, VIEWS, COLUMNS)
    await _check(reader, store)
    entities = [{name: [value] for name, value in entity(number).items()} for number in range(ENTITIES)]
    everybody = {name: [one[name][0] for one in entities] for name in entities[0]}

    async def sdk(number: int) -> None:
        store.get_online_features(FEATURE_NAMES, [entity(number)], full_feature_names=True).to_dict()

    async with _raw_ways(connection, port) as ways:
        ways[READER] = lambda number: reader.read(entities[number])
        ways["OnlineReader, 1,000 entities at once"] = lambda _: reader.read(everybody)
        ways["Feast SDK in process, get_online_features"] = sdk
        names = [*ways, *(server[0] for server in servers)]
        lines = {name: Line(name) for name in names}
        numbers = itertools.cycle(range(ENTITIES))
        for round_ in range(ROUNDS + 1):
            for name, way in ways.items():
                latencies = await _time(way, numbers)
                # the first round only warms up
                lines[name].latencies += latencies if round_ else []
            for name, at, path, body in servers:
                over_http = await load(at, path, body, seconds=SECONDS, connections=1)
                assert not over_http.failures
                lines[name].latencies += over_http.latencies if round_ else []
    await connection.close()
    return lines


@contextlib.asynccontextmanager
async def _raw_ways(connection: RedisConnection, port: int) -> AsyncIterator[dict[str, Way]]:
    """The same fields by HMGET: three commands in one pipeline, keys and fields at hand."""
    keys = [_keys(number) for number in range(ENTITIES)]
    hmgets = [Hmget(fields) for fields in FIELDS]
    synchronous = redis.Redis(port=port)
    asynchronous = redis.asyncio.Redis(port=port)

    async def raw(number: int) -> None:
        commands = b"".join([hmget.of(key) for hmget, key in zip(hmgets, keys[number], strict=True)])
        await connection.ask(commands, len(hmgets))

    async def raw_at_once(_: int) -> None:
        commands = b"".join([hmget.of(key) for one in keys for hmget, key in zip(hmgets, one, strict=True)])
        await connection.ask(commands, len(hmgets) * ENTITIES)

    def asked(pipeline: Any, number: int) -> Any:
        for key, fields in zip(keys[number], FIELDS, strict=True):
            pipeline.hmget(key, fields)
        return pipeline.execute()

    async def raw_asynchronous(number: int) -> None:
        await asked(asynchronous.pipeline(transaction=False), number)

    async def raw_synchronous(number: int) -> None:
        asked(synchronous.pipeline(transaction=False), number)

    yield {
        RAW: raw,
        "raw HMGET, redis.asyncio with hiredis": raw_asynchronous,
        "raw HMGET, redis-py with hiredis": raw_synchronous,
        "raw HMGET, 1,000 entities at once": raw_at_once,
    }
    await asynchronous.aclose()
    synchronous.close()


async def _time(way: Way, numbers: Iterator[int]) -> list[float]:
    found = []
    deadline = time.perf_counter() + SECONDS
    while (before := time.perf_counter()) < deadline:
        await way(next(numbers))
        found.append(time.perf_counter() - before)
    return found


async def _check(reader: OnlineReader, store: FeatureStore) -> None:
    """The contestants must agree before they race."""
    answer = store.get_online_features(FEATURE_NAMES, [entity(7)], full_feature_names=True).to_dict()
    expected = [[answer[f"{view}__{feature}"][0] for view, feature in COLUMNS]]
    online = await reader.read({name: [value] for name, value in entity(7).items()})
    np.testing.assert_array_equal(online.values, np.array(expected, dtype=np.float64))


def _keys(number: int) -> list[bytes]:
    one = entity(number)
    return [
        entity_key(
            entity_key_head(sorted(view.join_keys)),
            [entity_value(one[name], view.join_keys[name]) for name in sorted(view.join_keys)],
            PROJECT.encode(),
        )
        for view in VIEWS
    ]


@contextlib.contextmanager
def _serving(directory: Path, redis_port: int) -> Iterator[ServingProcess]:
    """Our serving process with a model of the same 20 features."""
    store = open_store(str(directory / "store"), {})
    views = [
        {
            "name": view.name,
            "join_keys": [{"name": name, "type": kind} for name, kind in view.join_keys.items()],
            "ttl_seconds": view.ttl_seconds,
            "features": [{"name": name, "type": "DOUBLE"} for name in view.features],
        }
        for view in VIEWS
    ]
    features = {f"{view}__{name}": f"{view}:{name}" for view, name in COLUMNS}
    served = make_version(store, "1", 1e-4, features=features, views=views)
    file = directory / "served.json"
    write_served_model(file, served_model(served))
    process = ServingProcess(
        file,
        directory / "store",
        online_store=f"redis://127.0.0.1:{redis_port}/0",
        prefix=ON_SERVER_CORE,
    )
    with process:
        process.wait_for("/v2/health/ready")
        yield process


def _infer_request(number: int) -> bytes:
    one: dict[str, Any] = entity(number)
    inputs = [tensor("carrier", "BYTES", [one["carrier"]]), tensor("airport", "INT64", [one["airport"]])]
    return json.dumps({"inputs": inputs}).encode()

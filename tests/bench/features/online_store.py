"""A stock Feast store on Redis: three views with 20 features in all, written by Feast's own SDK."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import yaml
from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource, ValueType
from feast.types import Float32, Float64, Int64, String
from serving_process import free_port

from windtunnel.features.online.online_reader import OnlineView

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PROJECT = "flight_delay"
SERVICE = "twenty"
ENTITIES = 1000
TTL = timedelta(days=7)
_FEATURES = [*(f"mean_{n}" for n in range(5)), "flights", "share"]
VIEWS = [
    OnlineView("carrier_day", {"carrier": "STRING"}, tuple(_FEATURES), TTL.total_seconds()),
    OnlineView("airport_day", {"airport": "INT64"}, tuple(_FEATURES), TTL.total_seconds()),
    OnlineView(
        "route_day", {"carrier": "STRING", "airport": "INT64"}, tuple(_FEATURES[:6]), TTL.total_seconds()
    ),
]
COLUMNS = [(view.name, feature) for view in VIEWS for feature in view.features]
FEATURE_NAMES = [f"{view}:{feature}" for view, feature in COLUMNS]
_KEY_TYPES = {"carrier": (ValueType.STRING, String), "airport": (ValueType.INT64, Int64)}
_TYPES = {"flights": (Int64, "int64"), "share": (Float32, "float32")}


def entity(number: int) -> dict[str, Any]:
    """Join key → value of one of the entities."""
    return {"carrier": f"carrier {number}", "airport": number}


def make_store(directory: Path, redis_port: int) -> FeatureStore:
    """`directory` is then a feature repository that `feast serve` takes."""
    config = {
        "project": PROJECT,
        "provider": "local",
        "registry": str(directory / "registry.db"),
        "online_store": {"type": "redis", "connection_string": f"127.0.0.1:{redis_port}", "skip_dedup": True},
        "offline_store": {"type": "duckdb"},
        "entity_key_serialization_version": 3,
    }
    (directory / "feature_store.yaml").write_text(yaml.safe_dump(config))
    store = FeatureStore(repo_path=str(directory))
    entities = {
        name: Entity(name=name, join_keys=[name], value_type=kind) for name, (kind, _) in _KEY_TYPES.items()
    }
    views = []
    for view in VIEWS:
        path = directory / f"{view.name}.parquet"
        _rows(view).to_parquet(path)
        views.append(
            FeatureView(
                name=view.name,
                entities=[entities[name] for name in view.join_keys],
                schema=[Field(name=name, dtype=_KEY_TYPES[name][1]) for name in view.join_keys]
                + [Field(name=name, dtype=_TYPES.get(name, (Float64,))[0]) for name in view.features],
                source=FileSource(
                    name=f"{view.name}_source", path=str(path), timestamp_field="event_timestamp"
                ),
                ttl=TTL,
            )
        )
    store.apply([*entities.values(), *views, FeatureService(name=SERVICE, features=list(views))])
    for view in VIEWS:
        store.write_to_online_store(view.name, _rows(view))
    return store


def _rows(view: OnlineView) -> pd.DataFrame:
    random = np.random.default_rng(len(view.name))
    entities = [entity(number) for number in range(ENTITIES)]
    frame: dict[str, Any] = {name: [one[name] for one in entities] for name in view.join_keys}
    frame["event_timestamp"] = datetime.now(UTC) - timedelta(hours=1)
    for name in view.features:
        kind = _TYPES.get(name, (None, "float64"))[1]
        frame[name] = random.exponential(1000, size=ENTITIES).astype(kind)
    return pd.DataFrame(frame)


@contextlib.contextmanager
def feast_serve(directory: Path, prefix: tuple[str, ...]) -> Iterator[int]:
    """The port of `feast serve` with one worker."""
    port = free_port()
    feast = [sys.executable, "-m", "feast.cli.cli", "-c", str(directory), "serve"]
    command = [*prefix, *feast, "--port", str(port), "--no-access-log", "--max-requests", "0"]
    with (directory / "serve.log").open("wb") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, env={**os.environ, "FEAST_USAGE": "False"}
        )
        try:
            _wait(port, process, directory / "serve.log")
            yield port
        finally:
            process.terminate()
            process.wait(20)


def _wait(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(urllib.error.URLError, ConnectionError):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
            return
        time.sleep(0.2)
    raise RuntimeError(f"feast serve did not start:\n{log.read_text()[-2000:]}")


def serve_request(number: int, *, by_service: bool) -> bytes:
    """The body for POST /get-online-features, which names the feature service or each feature."""
    keys = {name: [value] for name, value in entity(number).items()}
    what = {"feature_service": SERVICE} if by_service else {"features": FEATURE_NAMES}
    return json.dumps({**what, "entities": keys, "full_feature_names": True}).encode()

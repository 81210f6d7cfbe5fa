"""What the online store holds, read from outside, and what it should hold by the feature rows."""

from __future__ import annotations

import io
import json
import math
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl
import redis
from dev.demo.target import ROOT
from tests.cluster.release import LIFECYCLE, NAMESPACE, RELEASE

from windtunnel.features.definitions import load_definitions
from windtunnel.features.online.online_layout import (
    decode_timestamp,
    decode_value,
    entity_key,
    entity_key_head,
    entity_value,
    feature_field,
    timestamp_field,
)
from windtunnel.spec import load_lifecycle

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dev.demo.thread import Platform

    from windtunnel.features.definitions import View

VALKEY = f"{RELEASE}-valkey"
Key = tuple[Any, ...]


@dataclass(frozen=True)
class Row:
    """What a view has of one entity: event timestamp in nanoseconds, and values (None: missing)."""

    event: int
    values: tuple[float | None, ...]


Rows = dict[tuple[str, Key], Row]
"""By view and join keys."""


def views() -> dict[str, View]:
    directory = ROOT / "dags/lifecycles" / LIFECYCLE
    return load_definitions(directory, load_lifecycle(directory)).views


@contextmanager
def online_client(platform: Platform) -> Iterator[Any]:
    """A Redis client of the release's Valkey; of no use any more once that was killed."""
    password = platform.kubectl.secret(
        NAMESPACE, f"{RELEASE}-online-store", "WINDTUNNEL_ONLINE_STORE_PASSWORD"
    )
    with (
        platform.kubectl.port_forward(NAMESPACE, f"svc/{VALKEY}", 6379) as port,
        redis.Redis(port=port, password=password) as client,
    ):
        yield client


def markers(client: Any, view: str) -> dict[str, Any]:
    """The view's markers by slice (`<start>..<end>`); a slice that is being written has {"writing": …}."""
    found = client.hgetall(f"windtunnel:materialized:{LIFECYCLE}:{view}")
    return {field.decode(): json.loads(text) for field, text in found.items() if b".." in field}


def newest_rows(platform: Platform, view: View) -> Rows:
    """The newest feature row of each key, by all feature files in the object store."""
    store = platform.store
    files = [
        pl.read_parquet(io.BytesIO(store.get(entry.key)))
        for entry in store.list(f"{LIFECYCLE}/features/{view.name}/")
        if entry.key.endswith(".parquet")
    ]
    keys = sorted(view.join_keys)
    newest = (
        pl.concat(files, how="diagonal_relaxed")
        .sort("event_timestamp", "created", maintain_order=True)
        .group_by(keys, maintain_order=True)
        .last()
    )
    events = newest["event_timestamp"].dt.epoch("ns")
    return {
        (view.name, tuple(row[key] for key in keys)): Row(
            event, tuple(_present(row[feature]) for feature in view.features)
        )
        for row, event in zip(newest.to_dicts(), events, strict=True)
    }


def stored_rows(client: Any, view: View, keys: list[Key]) -> Rows:
    """Of these keys those that the view has something of in the online store."""
    names = sorted(view.join_keys)
    head = entity_key_head(names)
    fields = [timestamp_field(view.name), *(feature_field(view.name, name) for name in view.features)]
    found: Rows = {}
    for key in keys:
        parts = [entity_value(value, view.join_keys[name]) for name, value in zip(names, key, strict=True)]
        event, *values = client.hmget(entity_key(head, parts, LIFECYCLE.encode()), fields)
        if event is not None:
            decoded = tuple(_present(decode_value(value)) for value in values)
            found[view.name, key] = Row(decode_timestamp(event), decoded)
    return found


def everything_stored(platform: Platform) -> Rows:
    """Of all keys that any feature row has."""
    rows: Rows = {}
    with online_client(platform) as client:
        for view in views().values():
            keys = [key for _, key in newest_rows(platform, view)]
            rows |= stored_rows(client, view, keys)
    return rows


def assert_newest_values_are_stored(platform: Platform) -> None:
    """Every key has its newest feature row online; only rows past their view's ttl may be absent."""
    stored = everything_stored(platform)
    for view in views().values():
        expected = newest_rows(platform, view)
        newest = max(row.event for row in expected.values())
        ttl = view.ttl.total_seconds() * 1e9 if view.ttl else math.inf
        for at, row in expected.items():
            if newest - row.event <= ttl or at in stored:
                assert stored.get(at) == row, at


def _present(value: float | None) -> float | None:
    """NaN is no value either, and, unlike None, would not equal itself."""
    return None if value is None or math.isnan(value) else float(value)

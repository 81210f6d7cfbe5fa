"""Replay days of the past to a served model, hour by hour, as if they happened now.

Before each hour's questions the online store gets what had become known by then, and each question says when
it is asked. So the model is asked what it would have been asked, with the features that it would have had,
and what it is asked stands in the prediction log under the moments of the past.
"""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import redis

from windtunnel.features.daily import days_between, feature_rows_of
from windtunnel.features.definitions import EVENT_TIMESTAMP, load_definitions
from windtunnel.features.engines import AsofEngine
from windtunnel.features.feature_store import online_store_config, open_feature_store
from windtunnel.features.online.redis_address import RedisAddress
from windtunnel.features.online.redis_writer import RedisWriter
from windtunnel.features.point_in_time import read_entity_rows
from windtunnel.settings import Settings
from windtunnel.spec import load_lifecycle

from .ask import model_client
from .console import DemoError
from .target import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from feast import FeatureStore

    from windtunnel.features.definitions import View
    from windtunnel.objects import ObjectStore
    from windtunnel.spec import Lifecycle

    from .thread import Platform

ROWS_PER_REQUEST = 100
_DATATYPES = {"STRING": "BYTES", "BYTES": "BYTES", "INT32": "INT32", "INT64": "INT64"}


@dataclass(frozen=True)
class World:
    """Where the lifecycle's feature rows and questions are, and the online store that the model reads."""

    directory: Path
    store: ObjectStore
    settings: Settings
    """Of them `online_store` and its password."""
    work: Path

    @cached_property
    def lifecycle(self) -> Lifecycle:
        return load_lifecycle(self.directory)


@dataclass(frozen=True)
class Replayed:
    """What was asked and answered."""

    rows: int
    missing: int
    """Feature values that the model had to do without."""
    versions: set[str]
    began: datetime
    ended: datetime
    """A window of prediction time that holds all of it, and nothing that was asked before."""


def replay(world: World, first: date, last: date, infer: Callable[[dict[str, Any]], Any]) -> Replayed:
    """Ask everything that was asked on the days [first, last]; `infer` sends one request.

    The features stages must have been there. Whoever reads the same online store sees it go back in time.
    """
    online = OnlineStore(world)
    online.forget()
    began = datetime.now(UTC)
    rows = missing = 0
    versions = set()
    for day in days_between(first, last):
        for moment, asked in _hours(read_entity_rows(world, day)):
            online.learn(moment)
            for request in requests(world, moment, asked):
                answer = infer(request)
                rows += len(answer["outputs"][0]["data"])
                missing += answer["parameters"]["missing_features"]
                versions.add(answer["model_version"])
    online.learn(datetime.max.replace(tzinfo=UTC))
    return Replayed(rows, missing, versions, began, datetime.now(UTC))


def requests(world: World, moment: datetime, asked: pl.DataFrame) -> Iterator[dict[str, Any]]:
    """Requests by entity key, of some rows each, that ask as of the moment."""
    lifecycle = world.lifecycle
    join_keys = load_definitions(world.directory, lifecycle).join_keys
    kinds = {key: _DATATYPES[kind] for key, kind in join_keys.items()}
    kinds |= dict.fromkeys(lifecycle.spec.features.request, "FP64")
    for part in asked.iter_slices(ROWS_PER_REQUEST):
        yield {
            "parameters": {"event_timestamp": moment.isoformat()},
            "inputs": [
                {"name": name, "datatype": kind, "shape": [part.height], "data": part[name].to_list()}
                for name, kind in kinds.items()
            ],
        }


def _hours(asked: pl.DataFrame) -> Iterator[tuple[datetime, pl.DataFrame]]:
    for (moment,), rows in asked.sort(EVENT_TIMESTAMP, maintain_order=True).group_by(
        EVENT_TIMESTAMP, maintain_order=True
    ):
        yield moment, rows


class OnlineStore:
    """The lifecycle's online store, whose clock can be turned back and goes on by `learn`."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._views = {
            name: view
            for name, view in load_definitions(world.directory, world.lifecycle).views.items()
            if name in world.lifecycle.spec.features.views
        }
        self._known: datetime | None = None
        self._rows = {name: _all_rows(world, name) for name in self._views}
        self._feast = self._open()
        self._feast_views = {name: self._feast.get_feature_view(name) for name in self._views}

    def forget(self) -> None:
        """Everything that the lifecycle has there; what was materialized stands in the feature rows, too."""
        address = RedisAddress.parse(
            self._world.settings.online_store, self._world.settings.online_store_password
        )
        with redis.Redis(
            address.host,
            address.port,
            address.db,
            username=address.username or None,
            password=address.password,
        ) as client:
            for key in client.scan_iter(match=f"*{self._world.lifecycle.name}", count=1000):
                client.delete(key)

    def learn(self, moment: datetime) -> None:
        """Write what has become known up to the moment, since the moment before."""
        for name, view in self._views.items():
            rows = self._rows[name]
            new = pl.col(EVENT_TIMESTAMP) <= moment
            if self._known is not None:
                new &= pl.col(EVENT_TIMESTAMP) > self._known
            news = rows.filter(new).group_by(list(view.join_keys), maintain_order=True).last()
            if news.height:
                self._write(view, news)
        self._known = moment

    def _write(self, view: View, rows: pl.DataFrame) -> None:
        feast_view = self._feast_views[view.name]
        keys = {field.name: field.dtype.to_value_type() for field in feast_view.entity_columns}
        writer = RedisWriter(self._feast.config, feast_view, keys)
        try:
            writer.write(rows.to_arrow())
            writer.close()
        finally:
            writer.abort()

    def _open(self) -> FeatureStore:
        definitions = load_definitions(self._world.directory, self._world.lifecycle)
        online = online_store_config(self._world.settings)
        name = self._world.lifecycle.name
        return open_feature_store(definitions, name, {}, self._world.work, AsofEngine(), online)


def _all_rows(world: World, view: str) -> pl.DataFrame:
    """The view's feature rows of all days, oldest first."""
    files = feature_rows_of(world.store, world.lifecycle.name, view)
    return files.rows(sorted(files.known_days())).sort(EVENT_TIMESTAMP, "created", maintain_order=True)


@contextmanager
def platform_world(platform: Platform, lifecycle: str) -> Iterator[World]:
    """Of a release with the embedded Valkey."""
    kubectl, namespace, release = platform.kubectl, platform.namespace, platform.release
    password = kubectl.secret(namespace, f"{release}-online-store", "WINDTUNNEL_ONLINE_STORE_PASSWORD")
    with (
        kubectl.port_forward(namespace, f"svc/{release}-valkey", 6379) as port,
        tempfile.TemporaryDirectory() as work,
    ):
        settings = Settings(
            store=platform.store.url,
            lifecycles=ROOT / "dags/lifecycles",
            online_store=f"redis://127.0.0.1:{port}/0",
            online_store_password=password,
        )
        yield World(ROOT / "dags/lifecycles" / lifecycle, platform.store, settings, Path(work))


def replay_to(platform: Platform, lifecycle: str, first: date, last: date) -> Replayed:
    """Replay to the model that serves the lifecycle."""
    with platform_world(platform, lifecycle) as world, model_client(platform, lifecycle) as client:

        def infer(request: dict[str, Any]) -> Any:
            answer = client.post(f"/v2/models/{lifecycle}/infer", json=request)
            if answer.status_code != 200:
                raise DemoError(f"the model answers {answer.status_code}: {answer.text[:300]}")
            return answer.json()

        return replay(world, first, last, infer)

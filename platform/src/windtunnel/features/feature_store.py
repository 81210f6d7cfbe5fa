"""Feast's FeatureStore for one stage: a registry made from the lifecycle's code, and files of the days that
it needs.

The registry is derived: every stage applies the definitions to a file of its own, so no stage needs a
database and no two stages share state. What joins and materializes, and where it reads feature rows, is the
engine's word (module `engines`).
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import warnings
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from windtunnel.errors import PermanentError
from windtunnel.features.definitions import CREATED
from windtunnel.features.engines import AsofEngine
from windtunnel.features.online.redis_address import SCHEMES, RedisAddress
from windtunnel.settings import sqlite_path, without_credentials

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime
    from pathlib import Path

    from feast import FeatureStore

    from windtunnel.features.definitions import Definitions
    from windtunnel.features.engines import FeatureEngine
    from windtunnel.settings import Settings


def open_feature_store(
    definitions: Definitions,
    project: str,
    files: Mapping[str, str],
    work: Path,
    engine: FeatureEngine,
    online: dict[str, Any] | None = None,
) -> FeatureStore:
    """Apply all definitions; `files` says where the rows of the views are that will be read (view → what
    the engine's `fetch` answered).

    `online` is what `online_store_config` makes; without it nothing may be written or read online.
    """
    from feast import FeatureStore, RepoConfig

    config = RepoConfig(
        project=project,
        provider="local",
        registry=str(work / "registry.pb"),
        entity_key_serialization_version=3,
        repo_path=work,
        **engine.config(online or {"type": "sqlite", "path": str(work / "unused.db")}),
    )
    store = FeatureStore(config=config)
    views = []
    for name, known in definitions.views.items():
        view = copy.copy(definitions.feast_views[name])
        # A copy: the user's objects stay as they are, whatever Feast infers into them.
        source = copy.deepcopy(view.batch_source)
        # The platform writes it, so what is known only later never leaks, also where features.py does not
        # say it.
        source.created_timestamp_column = CREATED
        view.batch_source = (
            engine.source(source, files[name], list(known.join_keys)) if name in files else source
        )
        views.append(view)
    with quiet():
        # skip_feature_view_validation: it only warns, of names that differ in case.
        store.apply(
            [*definitions.entities, *views, definitions.feast_service], skip_feature_view_validation=True
        )
    return store


def online_store_config(settings: Settings) -> dict[str, Any]:
    """Feast's configuration of the online store that the settings name."""
    url = settings.online_store
    if path := sqlite_path(url):
        return {"type": "sqlite", "path": path}
    if url.startswith(SCHEMES) and urlsplit(url).hostname:
        address = RedisAddress.parse(url, settings.online_store_password)
        return {"type": "redis", "connection_string": _connection_string(address)}
    raise PermanentError(
        f"{without_credentials(url)!r} is no online store",
        where="WINDTUNNEL_ONLINE_STORE",
        fix="set it to redis://host:port/db or sqlite:///absolute/path",
    )


def _connection_string(address: RedisAddress) -> str:
    options: dict[str, Any] = {"db": address.db, "socket_connect_timeout": 5, "socket_timeout": 60}
    if address.tls:
        options["ssl"] = True
    options |= {name: text for name in ("username", "password") if (text := getattr(address, name))}
    # Feast splits at commas and reads values as JSON: a quoted string without a comma passes unchanged.
    values = (f"{key}={json.dumps(value)}".replace(",", "\\u002c") for key, value in options.items())
    return ",".join([f"{address.host}:{address.port}", *values])


def published_registry(
    definitions: Definitions,
    project: str,
    work: Path,
    rows_uri: str,
    filled: Mapping[str, list[tuple[datetime, datetime]]],
) -> bytes:
    """A registry for everybody: with the places that all can read the feature rows from, and the intervals
    that each view was materialized for. `rows_uri` is the folder of all views' rows.

    The places are globs: in a folder DuckDB finds nothing, and Spark takes the sidecars for parquet.
    """
    store = open_feature_store(definitions, project, {}, work, AsofEngine())
    published = store.registry.proto()
    place = _for_everybody(rows_uri)
    for view in published.feature_views:
        view.spec.batch_source.file_options.uri = f"{place}/{view.spec.name}/*.parquet"
        for first, last in filled.get(view.spec.name, ()):
            interval = view.meta.materialization_intervals.add()
            interval.start_time.FromDatetime(first)
            interval.end_time.FromDatetime(last)
    places = {
        view.spec.batch_source.name: view.spec.batch_source.file_options.uri
        for view in published.feature_views
    }
    for source in published.data_sources:
        source.file_options.uri = places.get(source.name, source.file_options.uri)
    return bytes(published.SerializeToString())


def _for_everybody(uri: str) -> str:
    """A place as all of Feast's offline stores read it; they take `file://…` for a relative path."""
    return unquote(urlsplit(uri).path) if uri.startswith("file://") else uri


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Feast prints coloured progress and passes on its dependencies' warnings; a stage logs its own."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", FutureWarning)
        # "The spark … is an experimental feature in alpha development."
        warnings.filterwarnings("ignore", "The spark ", RuntimeWarning)
        yield

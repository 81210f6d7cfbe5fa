"""Feast's FeatureStore for one stage: a registry made from the lifecycle's code, and files of the days that
it needs.

The registry is derived: every stage applies the definitions to a file of its own, so no stage needs a
database and no two stages share state. Feature rows are copied from the object store first, and each file is
held against the digest in its sidecar. Which engine joins and materializes is `engine_config`'s word, where
it reads a view's rows `batch_source`'s.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import warnings
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from windtunnel.errors import PermanentError
from windtunnel.features.daily import at_once, feature_rows_of, in_groups
from windtunnel.features.definitions import CREATED
from windtunnel.features.materialization import ENGINE
from windtunnel.settings import without_credentials

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import date, datetime
    from pathlib import Path

    from feast import FeatureStore, FeatureView
    from feast.data_source import DataSource

    from windtunnel.features.daily import Sidecar
    from windtunnel.features.definitions import Definitions
    from windtunnel.objects import ObjectStore
    from windtunnel.settings import Settings
    from windtunnel.spec.lifecycle import Engine, Lifecycle

OFFLINE_STORE = "windtunnel.features.offline_store.AsofOfflineStore"
# Of files in memory while they are copied.
BYTES_AT_ONCE = 64 * 2**20
_ENGINES: dict[Engine, dict[str, Any]] = {
    "asof": {"offline_store": {"type": OFFLINE_STORE}, "batch_engine": {"type": ENGINE}},
}


def engine_config(engine: Engine) -> dict[str, Any]:
    """Feast's configuration of the offline store and of the engine that materializes from it."""
    return _ENGINES[engine]


def batch_source(view: FeatureView, rows: Path | None) -> DataSource:
    """The view's source over the staged files in the directory `rows`; a copy: the user's objects stay as
    they are, whatever Feast infers into them. Without `rows` nothing of the view may be read.
    """
    source = copy.deepcopy(view.batch_source)
    # The platform writes it, so what is known only later never leaks, also where features.py does not say it.
    source.created_timestamp_column = CREATED
    if rows is not None:
        source.file_options.uri = str(rows / "*.parquet")
    return source


def staged_directory(work: Path, view: str) -> Path:
    """Where `stage_feature_rows` puts the files of a view."""
    return work / "rows" / view


def stage_feature_rows(
    store: ObjectStore, lifecycle: str, view: str, sidecars: Mapping[date, Sidecar], work: Path
) -> dict[date, Sidecar]:
    """Copy a view's files of those days into its `staged_directory`, digests verified.

    Returns the sidecars of what was copied: a day that was written anew since it was listed comes in its new
    form, or not at all when it has no rows any more.
    """
    files = feature_rows_of(store, lifecycle, view)
    target = staged_directory(work, view)
    target.mkdir(parents=True, exist_ok=True)

    def copy_file(item: tuple[date, Sidecar]) -> Sidecar:
        data, sidecar = files.read_current(*item)
        if sidecar.present:
            (target / f"{item[0]}.parquet").write_bytes(data)
        return sidecar

    copied: dict[date, Sidecar] = {}
    for group in in_groups(sidecars, BYTES_AT_ONCE):
        copied |= zip(group, at_once(copy_file, list(group.items())), strict=True)
    return {day: sidecar for day, sidecar in copied.items() if sidecar.present}


def open_feature_store(
    definitions: Definitions,
    lifecycle: Lifecycle,
    rows: Mapping[str, Path],
    work: Path,
    online: dict[str, Any] | None = None,
) -> FeatureStore:
    """Apply all definitions; `rows` says where the files of the views are that will be read (view →
    directory).

    `online` is what `online_store_config` makes; without it nothing may be written or read online.
    """
    engine = lifecycle.spec.features.engine
    return _applied(definitions, lifecycle.name, rows, work, online, engine)


def _applied(
    definitions: Definitions,
    project: str,
    rows: Mapping[str, Path],
    work: Path,
    online: dict[str, Any] | None,
    engine: Engine,
) -> FeatureStore:
    from feast import FeatureStore, RepoConfig

    config = RepoConfig(
        project=project,
        provider="local",
        registry=str(work / "registry.pb"),
        online_store=online or {"type": "sqlite", "path": str(work / "unused.db")},
        entity_key_serialization_version=3,
        repo_path=work,
        **engine_config(engine),
    )
    store = FeatureStore(config=config)
    views = []
    for name in definitions.views:
        view = copy.copy(definitions.feast_views[name])
        view.batch_source = batch_source(view, rows.get(name))
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
    parts = urlsplit(url)
    if parts.scheme == "sqlite" and parts.path:
        return {"type": "sqlite", "path": parts.path}
    if parts.scheme in ("redis", "rediss") and parts.hostname:
        return {"type": "redis", "connection_string": _connection_string(url, settings)}
    raise PermanentError(
        f"{without_credentials(url)!r} is no online store",
        where="WINDTUNNEL_ONLINE_STORE",
        fix="set it to redis://host:port/db or sqlite:///absolute/path",
    )


def _connection_string(url: str, settings: Settings) -> str:
    parts = urlsplit(url)
    options = {"db": int(parts.path.strip("/") or 0), "socket_connect_timeout": 5, "socket_timeout": 60}
    if parts.scheme == "rediss":
        options["ssl"] = True
    text = [
        f"{parts.hostname}:{parts.port or 6379}",
        *(f"{key}={json.dumps(value)}" for key, value in options.items()),
    ]
    if settings.online_store_password:
        # Feast splits at commas and reads values as JSON: a quoted string without a comma passes unchanged.
        text.append("password=" + json.dumps(settings.online_store_password).replace(",", "\\u002c"))
    return ",".join(text)


def published_registry(
    definitions: Definitions,
    project: str,
    work: Path,
    rows_uri: str,
    filled: Mapping[str, list[tuple[datetime, datetime]]],
) -> bytes:
    """A registry for everybody: with the places that all can read the feature rows from, and the intervals
    that each view was materialized for.
    """
    store = _applied(definitions, project, {}, work, None, "asof")
    published = store.registry.proto()
    for view in published.feature_views:
        view.spec.batch_source.file_options.uri = f"{rows_uri}/{view.spec.name}"
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


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Feast prints coloured progress and passes on its dependencies' warnings; a stage logs its own."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", FutureWarning)
        yield

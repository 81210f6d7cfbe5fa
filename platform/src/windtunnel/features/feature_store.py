"""Feast's FeatureStore for one stage: a registry made from the lifecycle's code, and files of the days that
it needs.

The registry is derived: every stage applies the definitions to a file of its own, so no stage needs a
database and no two stages share state. Feature rows are copied from the object store first, because Feast's
DuckDB store would download an extension to read S3. (Its Dask store drops entity rows that have no features:
never for training.)
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
from windtunnel.features.daily import at_once, feature_rows_of
from windtunnel.settings import without_credentials

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date
    from pathlib import Path

    from feast import FeatureStore, FeatureView, RepoConfig

    from windtunnel.features.daily import Sidecar
    from windtunnel.features.definitions import Definitions
    from windtunnel.objects import ObjectStore
    from windtunnel.settings import Settings

# Feast turns rows into protobuf objects in one go; this many at a time keep a stage below a gigabyte.
WRITE_BATCH_ROWS = 10_000


def stage_feature_rows(
    store: ObjectStore, lifecycle: str, view: str, sidecars: dict[date, Sidecar], directory: Path
) -> Path:
    """Copy a view's files of those days, digests verified; returns the directory that holds them."""
    files = feature_rows_of(store, lifecycle, view)
    target = directory / "rows" / view
    target.mkdir(parents=True, exist_ok=True)

    def copy_file(item: tuple[date, Sidecar]) -> None:
        (target / f"{item[0]}.parquet").write_bytes(files.read_bytes(*item))

    at_once(copy_file, list(sidecars.items()))
    return target


def open_feature_store(
    definitions: Definitions,
    project: str,
    rows: dict[str, Path],
    work: Path,
    online: dict[str, Any] | None = None,
) -> FeatureStore:
    """Apply all definitions; `rows` says where the files of the views are that will be read (view →
    directory).

    `online` is what `online_store_config` makes; without it nothing may be written or read online.
    """
    from feast import FeatureStore

    store = FeatureStore(config=_config(project, work, online))
    views = [_view_over(definitions.feast_views[name], rows.get(name)) for name in definitions.views]
    with quiet():
        # skip_feature_view_validation: it only warns, of names that differ in case.
        store.apply(
            [*definitions.entities, *views, definitions.feast_service], skip_feature_view_validation=True
        )
    return store


def _view_over(view: FeatureView, rows: Path | None) -> FeatureView:
    """A copy over staged files: the user's objects stay as they are, whatever Feast infers into them."""
    over = copy.copy(view)
    source = copy.deepcopy(view.batch_source)
    if rows is not None:
        source.file_options.uri = str(rows / "*.parquet")
    over.batch_source = source
    return over


def online_store_config(settings: Settings) -> dict[str, Any]:
    """Feast's configuration of the online store that the settings name."""
    url = settings.online_store
    parts = urlsplit(url)
    if parts.scheme == "sqlite" and parts.path:
        return {"type": "sqlite", "path": parts.path}
    if parts.scheme in ("redis", "rediss") and parts.hostname:
        return {"type": "redis", "skip_dedup": True, "connection_string": _connection_string(url, settings)}
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


def _config(project: str, work: Path, online: dict[str, Any] | None) -> RepoConfig:
    from feast import RepoConfig

    return RepoConfig(
        project=project,
        provider="local",
        registry=str(work / "registry.pb"),
        offline_store={"type": "duckdb"},
        online_store=online or {"type": "sqlite", "path": str(work / "unused.db")},
        entity_key_serialization_version=3,
        materialization={"online_write_batch_size": WRITE_BATCH_ROWS},
        repo_path=work,
    )


def published_registry(store: FeatureStore, rows_uri: str) -> bytes:
    """The registry, with the places that everybody can read the feature rows from instead of our copies."""
    proto = store.registry.proto()
    published = type(proto).FromString(proto.SerializeToString())
    for view in published.feature_views:
        view.spec.batch_source.file_options.uri = f"{rows_uri}/{view.spec.name}"
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

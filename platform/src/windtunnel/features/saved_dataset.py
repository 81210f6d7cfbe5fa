"""Write a retrieval's answer where Feast wants a saved dataset."""

# ruff: noqa: TID253 - only Feast's plugin imports this.
from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
from feast.errors import SavedDatasetLocationAlreadyExists
from feast.infra.offline_stores.file_source import FileSource, SavedDatasetFileStorage

from windtunnel.digests import digest
from windtunnel.errors import DataError
from windtunnel.features.parquet_rows import Place
from windtunnel.objects import ObjectStore, open_store

if TYPE_CHECKING:
    from feast.saved_dataset import SavedDatasetStorage


def save(table: pa.Table, storage: SavedDatasetStorage, repo_path: Path | None, *, overwrite: bool) -> None:
    """One file, at a path that ends in `.parquet` or in the directory that it names.

    Raises SavedDatasetLocationAlreadyExists unless `overwrite`; then what was there is replaced as a whole.
    """
    if not isinstance(storage, SavedDatasetFileStorage):
        raise DataError(
            f"a saved dataset cannot be in {type(storage).__name__}",
            where="offline store",
            fix="use SavedDatasetFileStorage(path=…)",
        )
    options = storage.file_options
    uri = options.uri
    if not uri.startswith(("s3://", "file://")):
        uri = FileSource.get_uri_for_file_path(repo_path, uri)
    place = Place(uri, options.s3_endpoint_override or "")
    store, name = _parent(place)
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    data = sink.getvalue().to_pybytes()
    if name.endswith(".parquet"):
        old, key = ([name] if store.exists(name) else []), name
    else:
        old, key = [entry.key for entry in store.list(name)], f"{name}/{digest(data)[-16:]}.parquet"
    if old and not overwrite:
        raise SavedDatasetLocationAlreadyExists(location=uri)
    store.put(key, data)
    for replaced in old:
        if replaced != key:
            store.delete(replaced)


def _parent(place: Place) -> tuple[ObjectStore, str]:
    """The folder or bucket as a store, and the name in it."""
    if place.remote:
        parts = urlsplit(place.uri)
        return open_store(f"s3://{parts.netloc}", place.environment()), parts.path.strip("/")
    path = Path(place.path.rstrip("/"))
    return open_store(str(path.parent), {}), path.name

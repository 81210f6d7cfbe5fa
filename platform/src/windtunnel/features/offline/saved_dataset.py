"""Write a retrieval's answer where Feast wants a saved dataset."""

# ruff: noqa: TID253 - only Feast's plugin imports this.
from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
from feast.errors import SavedDatasetLocationAlreadyExists
from feast.infra.offline_stores.file_source import FileSource, SavedDatasetFileStorage

from windtunnel.digests import digest
from windtunnel.errors import DataError
from windtunnel.features.offline.place import Place

if TYPE_CHECKING:
    from pathlib import Path

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
    store, file = Place(uri, options.s3_endpoint_override or "").folder()
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    data = bytes(sink.getvalue())
    if file:
        old, key = ([file] if store.exists(file) else []), file
    else:
        old = [entry.key for entry in store.list()]
        key = f"{digest(data).removeprefix('sha256:')[:16]}.parquet"
    if old and not overwrite:
        raise SavedDatasetLocationAlreadyExists(location=uri)
    store.put(key, data)
    for replaced in old:
        if replaced != key:
            store.delete(replaced)

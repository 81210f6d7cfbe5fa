"""The object store that a command reads: the one that is named, or that of this machine's runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from windtunnel.errors import NotFoundError
from windtunnel.objects import open_store

if TYPE_CHECKING:
    from windtunnel.local.home import Home
    from windtunnel.objects import ObjectStore

# A store that does not answer is most likely not there at all: nobody wants to wait a minute for that.
_PATIENCE = 10.0


def open_named(url: str | None, home: Home) -> ObjectStore:
    """The store that is named, or that of the home. Raises NotFoundError, PermanentError."""
    if url is None:
        if not home.store.is_dir():
            raise NotFoundError(
                "nothing ran here yet, so there is no store to look into",
                where=str(home.directory),
                fix="name a store by --store s3://bucket[/prefix], or the home of local runs by --home",
            )
        return home.open_store()
    if "://" not in url and not Path(url).is_dir():
        raise NotFoundError(
            "there is no such directory", where=url, fix="--store takes s3://… or a directory"
        )
    return open_store(url, os.environ, patience_seconds=_PATIENCE)

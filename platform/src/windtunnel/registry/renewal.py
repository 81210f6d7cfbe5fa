"""How retention learns that somebody needs a bundle or a snapshot which nothing refers to yet.

Their age counts from the last writing. A run that finds one in the cache, or that is about to give it the
seat, writes its manifest again: so a sweep that listed it as old before leaves it alone.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from windtunnel.errors import NotFoundError, RequestError
from windtunnel.objects import check_key

if TYPE_CHECKING:
    from windtunnel.objects import ObjectStore

MANIFEST: Final = "manifest.json"
"""Describes a bundle or a snapshot, and names its files with their digests."""


def renew(store: ObjectStore, uri: str) -> bool:
    """Let the age of a bundle or snapshot count from now; False when it is not whole (any more).

    Contents are not verified: who reads them does that. Raises StoreError.
    """
    folder = store.key(uri.rstrip("/"))
    key = f"{folder}/{MANIFEST}"
    try:
        content = store.get(key)
        files = [check_key(f"{folder}/{name}") for name in json.loads(content)["files"]]
    except (NotFoundError, RequestError, ValueError, KeyError, TypeError):
        return False
    store.put(key, content)
    # Only now, or a sweep could come in between.
    return all(map(store.exists, files))

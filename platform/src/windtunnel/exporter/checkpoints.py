"""Where the totals of a lifecycle are kept, so that the next exporter goes on from them.

`<lifecycle>/exporter/totals.json`. Deleting it costs nothing but time: the next start counts anew.
"""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

from windtunnel.digests import canonical_json
from windtunnel.errors import NotFoundError
from windtunnel.exporter.totals import Totals

if TYPE_CHECKING:
    from windtunnel.objects import ObjectStore

log = logging.getLogger(__name__)


def read_totals(store: ObjectStore, lifecycle: str) -> Totals:
    """What was kept, or nothing counted yet. Raises StoreError."""
    try:
        return Totals.from_json(json.loads(store.get(_key(lifecycle))))
    except NotFoundError:
        return Totals()
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        log.warning("%s: counting anew: %s: %s", _key(lifecycle), type(error).__name__, error)
        return Totals()


def write_totals(store: ObjectStore, lifecycle: str, totals: Totals) -> None:
    """Raises StoreError."""
    store.put(_key(lifecycle), canonical_json(totals.to_json()))


def _key(lifecycle: str) -> str:
    return f"{lifecycle}/exporter/totals.json"

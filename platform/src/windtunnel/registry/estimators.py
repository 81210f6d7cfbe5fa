"""The trained estimator itself, beside its bundle: what a warm start goes on from.

    <lifecycle>/bundles/<hex>/estimator.skops     its digest stands in the bundle's manifest

Serving reads none of it. Nothing is unpickled: skops refuses types that were not read before
(`registry.runtimes.TRUSTED_TYPES`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from windtunnel.digests import digest
from windtunnel.errors import IntegrityError, NotFoundError
from windtunnel.registry.bundle import bundle_folder
from windtunnel.registry.runtimes import TRUSTED_TYPES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from windtunnel.objects import ObjectStore

ESTIMATOR: Final = "estimator_digest"
"""The manifest's field with the digest; only bundles of lifecycles with training.warmStart have it."""


def estimator_key(lifecycle: str, name: str) -> str:
    """The key of the estimator of a bundle, by the bundle's digest."""
    return f"{bundle_folder(lifecycle, name)}/estimator.skops"


def read_estimator(
    store: ObjectStore, lifecycle: str, name: str, manifest: Mapping[str, Any]
) -> bytes | None:
    """The skops bytes of the estimator of the bundle with the digest `name`, verified; None: it has none.

    Raises IntegrityError, StoreError.
    """
    promised = manifest.get(ESTIMATOR)
    if promised is None:
        return None
    key = estimator_key(lifecycle, name)
    try:
        data = store.get(key)
    except NotFoundError:
        return None
    if digest(data) != promised:
        raise IntegrityError(
            "the estimator was changed or cut short since it was written",
            where=store.uri(key),
            fix="restore it from a backup, or delete it: the next training starts cold then",
        )
    return data


def load_estimator(data: bytes) -> Any:
    """A new estimator out of skops bytes, which nobody else holds."""
    import skops.io

    return skops.io.loads(data, trusted=list(TRUSTED_TYPES))

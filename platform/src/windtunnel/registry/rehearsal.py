"""Rehearsing a bundle: its golden requests, answered here as the model that was trained answered them.

Whoever is about to serve a bundle rehearses it: the serving pods before a version takes requests, and the
rollout's preflight before they are asked to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from windtunnel.errors import IntegrityError
from windtunnel.registry.bundle import read_bundle

if TYPE_CHECKING:
    from windtunnel.objects import ObjectStore
    from windtunnel.registry.bundle import Bundle
    from windtunnel.spec.servedmodel import ModelVersion

_GOLDEN_TOLERANCE: Final = 1e-5
"""How far an answer may be from the golden one, beyond the difference that conversion has shown."""


def read_rehearsed(store: ObjectStore, lifecycle: str, wanted: ModelVersion) -> Bundle:
    """The bundle, verified and rehearsed. Raises IntegrityError for wrong content, NotFoundError,
    StoreError, PermanentError."""
    bundle = read_bundle(store, wanted.bundle, wanted.digest)
    if bundle.manifest["lifecycle"] != lifecycle:
        raise IntegrityError(
            f"the bundle is of lifecycle {bundle.manifest['lifecycle']!r}", where=wanted.bundle
        )
    rehearse(bundle, wanted.bundle)
    return bundle


def rehearse(bundle: Bundle, where: str) -> None:
    """Replay the golden requests. Raises IntegrityError when an answer differs: this runtime must not serve
    it."""
    inputs, expected = bundle.golden
    answers = bundle.predict(inputs)
    tolerance = _GOLDEN_TOLERANCE + float(bundle.manifest["parity"]["max_abs_difference"])
    difference = float(np.max(np.abs(answers - expected), initial=0.0))
    if not difference <= tolerance:
        raise IntegrityError(
            f"golden requests are answered differently: by {difference:.2g}, allowed {tolerance:.2g}",
            where=where,
            fix="build the bundle with the same onnxruntime as the serving image's",
        )

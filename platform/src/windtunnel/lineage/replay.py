"""A logged prediction made again: the bundle of its digest, the features of the log, the same batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from windtunnel.errors import IntegrityError
from windtunnel.registry.bundle import read_bundle

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from windtunnel.lineage.answers import Answer
    from windtunnel.objects import ObjectStore

TOLERANCE = 1e-6
"""How far another machine's answer may be; of a value, in units of the largest prediction (at least 1)."""


@dataclass(frozen=True)
class Replay:
    """What the bundle says now to what it was asked then."""

    predictions: NDArray[np.float64]
    """[N]."""
    differing: tuple[int, ...]
    """Rows that are not equal bit for bit."""
    difference: float
    """The largest one."""
    tolerance: float

    @property
    def exact(self) -> bool:
        """Every row is equal, bit for bit."""
        return not self.differing

    @property
    def agrees(self) -> bool:
        """Every row is within the tolerance."""
        return self.difference <= self.tolerance


def replay(store: ObjectStore, answer: Answer, bundle_uri: str) -> Replay:
    """Load the bundle, verified, and answer again. Raises IntegrityError, NotFoundError, StoreError."""
    bundle = read_bundle(store, bundle_uri, answer.digest)
    if list(answer.names) != bundle.features:
        raise IntegrityError(
            f"the log has features {', '.join(answer.names)}; the bundle has {', '.join(bundle.features)}",
            where=answer.object_key,
            fix="the file was changed since it was written: restore it from a backup",
        )
    # All rows at once, as they were: a model may add up a batch in another order than a single row.
    again = bundle.predict(answer.inputs)
    same = again.view(np.int64) == answer.predictions.view(np.int64)
    differences = np.abs(again - answer.predictions)
    return Replay(
        predictions=again,
        differing=tuple(int(row) for row in np.flatnonzero(~same)),
        difference=float(np.max(differences, initial=0.0)) if np.all(np.isfinite(again)) else float("inf"),
        tolerance=TOLERANCE * max(1.0, float(np.max(np.abs(answer.predictions), initial=0.0))),
    )

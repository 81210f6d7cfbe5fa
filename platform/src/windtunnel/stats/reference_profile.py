"""The reference profile: what inputs and predictions looked like when the model was trained.

Small enough to ride in a bundle; monitoring compares current windows against it later.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

BINS = 20


def column_profile(values: NDArray[np.float64]) -> dict[str, Any]:
    """Rows, missing share, moments and a histogram of one column [N]; NaN = missing.

    `edges` are the distinct inner quantiles; bin i holds edges[i-1] <= x < edges[i], the outer bins are open,
    so any later value falls into exactly one bin. `counts` has one entry more than `edges`.
    """
    present = values[~np.isnan(values)]
    profile: dict[str, Any] = {
        "rows": len(values),
        "missing": float(1.0 - len(present) / max(1, len(values))),
    }
    if len(present) == 0:
        return profile | {"edges": [], "counts": [0]}
    edges = np.unique(np.quantile(present, np.linspace(0.0, 1.0, BINS + 1)[1:-1]))
    counts = np.bincount(np.searchsorted(edges, present, side="right"), minlength=len(edges) + 1)
    return profile | {
        "mean": float(present.mean()),
        "standard_deviation": float(present.std()),
        "lowest": float(present.min()),
        "highest": float(present.max()),
        "edges": [float(edge) for edge in edges],
        "counts": [int(count) for count in counts],
    }


def reference_profile(
    names: Sequence[str], inputs: NDArray[np.float64], prediction: NDArray[np.float64]
) -> dict[str, Any]:
    """Profiles of every feature (inputs [N, F], columns as `names`) and of the prediction [N]; JSON-ready."""
    return {
        "rows": len(inputs),
        "features": {name: column_profile(inputs[:, index]) for index, name in enumerate(names)},
        "prediction": column_profile(prediction),
    }

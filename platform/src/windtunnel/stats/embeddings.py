"""Drift of embeddings: vectors whose single numbers mean nothing, but whose main directions do.

A reference is kept as its mean, its main directions (principal components) and the profile of the rows'
coordinates along them, with how far each row lies off all of them; a window's vectors are projected alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from windtunnel.errors import DataError
from windtunnel.stats.drift import CORRELATION, ColumnDrift, DriftRule, compare
from windtunnel.stats.reference_profile import FrameProfile, profile_frame

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

DIRECTIONS = 16
_OFF = "distance from all main directions"
_SAMPLE = 20_000
"""Rows that the directions are found from."""


@dataclass(frozen=True)
class EmbeddingProfile:
    """mean [D] and orthonormal directions [K, D] of a reference's vectors; coordinates: of its rows."""

    mean: NDArray[np.float64]
    directions: NDArray[np.float64]
    coordinates: FrameProfile

    def to_json(self) -> dict[str, Any]:
        return {
            "mean": [float(f"{value:.6g}") for value in self.mean],
            "directions": [[float(f"{value:.6g}") for value in row] for row in self.directions],
            "coordinates": self.coordinates.to_json(),
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> EmbeddingProfile:
        return cls(
            mean=np.asarray(found["mean"], dtype=np.float64),
            directions=np.asarray(found["directions"], dtype=np.float64).reshape(-1, len(found["mean"])),
            coordinates=FrameProfile.from_json(found["coordinates"]),
        )


def embedding_profile(
    vectors: NDArray[np.float64], blocks: pl.Series | None = None, seasons: pl.Series | None = None
) -> EmbeddingProfile:
    """Profile of vectors [N, D]; a row with a NaN counts as missing. The others as in `profile_frame`."""
    whole = vectors[::2][np.isfinite(vectors[::2]).all(axis=1)]
    if len(whole) < 2:
        raise DataError(
            f"{len(whole)} whole vectors are too few for a profile",
            where="embedding_profile",
            fix="give the reference more rows without NaN",
        )
    mean = whole.mean(axis=0)
    # Every other row finds the directions: rows that did would lie closer to them than any later ones.
    sample = whole[:: max(1, len(whole) // _SAMPLE)] - mean
    _, vectors_of = np.linalg.eigh(sample.T @ sample)
    directions = vectors_of[:, ::-1].T[:DIRECTIONS].copy()
    blocks, seasons = (None if rows is None else rows.gather_every(2, offset=1) for rows in (blocks, seasons))
    profile = profile_frame(_coordinates(vectors[1::2], mean, directions), blocks, seasons)
    return EmbeddingProfile(mean, directions, profile)


def compare_embeddings(
    reference: EmbeddingProfile,
    vectors: NDArray[np.float64],
    rule: DriftRule | None = None,
    blocks: pl.Series | None = None,
    seasons: pl.Series | None = None,
    column: str = "embedding",
) -> ColumnDrift:
    """Drift of a window's vectors [N, D] as one column: the statistics of the direction that changed most."""
    if vectors.shape[1] != len(reference.mean):
        raise DataError(
            f"vectors of {vectors.shape[1]} numbers, those of the reference have {len(reference.mean)}",
            where=f"column {column}",
            fix="embed with the function that the model was evaluated with",
        )
    rule = rule or DriftRule()
    frame = _coordinates(vectors, reference.mean, reference.directions)
    found = compare(reference.coordinates, frame, rule, blocks, seasons)
    directions = [one for one in found if one.column != CORRELATION]
    most = min(directions, key=lambda one: (one.adjusted_p_value, -one.effect))
    drifted = [one for one in found if one.drifted]
    reasons = [f"{one.column}: {reason}" for one in drifted for reason in one.reasons[:1]]
    return ColumnDrift(
        column=column,
        kind="embedding",
        rows=most.rows,
        psi=max((one.psi for one in directions if one.psi is not None), default=None),
        jensen_shannon=max(
            (one.jensen_shannon for one in directions if one.jensen_shannon is not None), default=None
        ),
        ks=max((one.ks for one in directions if one.ks is not None), default=None),
        wasserstein=max((one.wasserstein for one in directions if one.wasserstein is not None), default=None),
        missing=most.missing,
        reference_missing=most.reference_missing,
        p_value=min(1.0, most.p_value * len(directions)),
        adjusted_p_value=min(one.adjusted_p_value for one in found),
        effect=max(one.effect for one in found),
        drifted=bool(drifted),
        reasons=reasons or most.reasons,
        histogram=most.histogram,
    )


def _coordinates(
    vectors: NDArray[np.float64], mean: NDArray[np.float64], directions: NDArray[np.float64]
) -> pl.DataFrame:
    centred = vectors - mean
    along = centred @ directions.T
    off = np.sqrt(np.maximum(np.square(centred).sum(axis=1) - np.square(along).sum(axis=1), 0.0))
    columns = {f"main direction {index + 1}": along[:, index] for index in range(along.shape[1])}
    # With no more numbers than directions nothing lies off them but rounding errors.
    rest = {_OFF: off} if len(mean) > len(directions) else {}
    return pl.DataFrame(columns | rest)

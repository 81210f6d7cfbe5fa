"""Read a snapshot back, verified: the training set and the evaluation set as arrays."""

from __future__ import annotations

import io
import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from windtunnel.digests import digest
from windtunnel.errors import DataError, IntegrityError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from windtunnel.objects import ObjectStore
    from windtunnel.registry.bundle import Bundle

TRAIN, EVALUATION = "train.parquet", "evaluation.parquet"


@dataclass(frozen=True)
class LabelledRows:
    """Rows with known labels; `frame` holds join keys, event_timestamp, slices, features and the label."""

    frame: pl.DataFrame
    names: tuple[str, ...]
    label: NDArray[np.float64]
    defaults: Mapping[str, float]

    def inputs(self) -> NDArray[np.float64]:
        """Features [N, F] as float64, missing = the feature's default, or NaN, for the snapshot's model."""
        return to_inputs(self.frame, self.names, self.defaults)

    def inputs_of(self, bundle: Bundle) -> NDArray[np.float64]:
        """The same for the model in a bundle: its features and its defaults."""
        return to_inputs(self.frame, bundle.features, bundle.defaults)

    def column(self, name: str) -> NDArray[np.object_]:
        """A slice column; null is a slice of its own."""
        return np.asarray(self.frame[name].cast(pl.String).fill_null("(null)").to_list(), dtype=object)


@dataclass(frozen=True)
class Snapshot:
    """A frozen training set and evaluation set, with the manifest that describes them."""

    digest: str
    manifest: dict[str, Any]
    train: LabelledRows
    evaluation: LabelledRows


def to_inputs(
    frame: pl.DataFrame, names: Sequence[str], defaults: Mapping[str, float]
) -> NDArray[np.float64]:
    """Columns of a frame as model inputs [N, F], as serving reads them online: null and NaN are missing, and
    become the feature's default or, without one, NaN. Raises DataError for an absent column.
    """
    absent = [name for name in names if name not in frame.columns]
    if absent:
        raise DataError(
            f"there is no feature {absent[0]!r}",
            where="snapshot",
            fix="keep the features of the model that serves: in the feature service, or in features.request",
        )
    columns = [
        frame[name].cast(pl.Float64).fill_nan(None).fill_null(defaults.get(name, math.nan)).to_numpy()
        for name in names
    ]
    return np.column_stack(columns) if columns else np.empty((frame.height, 0))


def read_snapshot(store: ObjectStore, uri: str, expected: str) -> Snapshot:
    """Raises IntegrityError when a file does not have the digest that was promised, NotFoundError,
    StoreError.
    """
    folder = store.key(uri.rstrip("/"))
    content = _verified(store, f"{folder}/manifest.json", expected)
    manifest = json.loads(content)
    rows = {}
    for name in (TRAIN, EVALUATION):
        frame = pl.read_parquet(io.BytesIO(_verified(store, f"{folder}/{name}", manifest["files"][name])))
        label = frame[manifest["label"]].cast(pl.Float64).to_numpy()
        defaults = manifest.get("defaults", {})
        rows[name] = LabelledRows(frame, tuple(manifest["features"]), label, defaults)
    return Snapshot(expected, manifest, rows[TRAIN], rows[EVALUATION])


def _verified(store: ObjectStore, key: str, promised: str) -> bytes:
    data = store.get(key)
    if digest(data) != promised:
        raise IntegrityError(
            f"the content has digest {digest(data)[:19]}…, promised was {promised[:19]}…",
            where=store.uri(key),
            fix="run the snapshot stage again with force",
        )
    return data

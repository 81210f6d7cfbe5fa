"""The reference profile of a bundle: what a monitor run compares a window with, without reading a snapshot.

    <lifecycle>/bundles/<hex>/reference.json

Made by the evaluation, out of the snapshot that the model was trained and judged on. Features, columns and
their interplay are of the training and evaluation rows together, as the model got them; prediction, label,
quality, slices and calibration are of the evaluation rows, which the model had not seen. Its digest stands in
the verdict.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import polars as pl

from windtunnel.digests import canonical_json, digest
from windtunnel.errors import IntegrityError, NotFoundError
from windtunnel.features.definitions import EVENT_TIMESTAMP
from windtunnel.monitoring.embedding import embed
from windtunnel.monitoring.seasons import seasons_of
from windtunnel.registry.bundle import profile_key
from windtunnel.stats.block_means import BlockMean, block_mean
from windtunnel.stats.calibration import reliability
from windtunnel.stats.cbpe import Calibration, fit_calibration
from windtunnel.stats.embeddings import EmbeddingProfile, embedding_profile
from windtunnel.stats.losses import row_losses
from windtunnel.stats.metrics import quality
from windtunnel.stats.reference_profile import FrameProfile, profile_frame

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from windtunnel.objects import ObjectStore
    from windtunnel.registry.bundle import Bundle
    from windtunnel.registry.snapshots import LabelledRows, Snapshot
    from windtunnel.spec.lifecycle import Lifecycle
    from windtunnel.stats.losses import Metric

API_VERSION: Final = "windtunnel.dev/v1alpha1"
KIND: Final = "ReferenceProfile"
PREDICTION, LABEL = "prediction", "label"
_ROWS_OF_A_CATEGORY: Final = 20
"""A join key is watched as a category where its values have so many rows on average: new customers come
every day, new airports do not."""
_DAYS_OF_A_SEASON: Final = 3
_SLICES: Final = 200
"""Values of one slice column that are kept, the largest."""


@dataclass(frozen=True)
class ReferenceQuality:
    """Of the evaluation rows; losses per row."""

    metric: str
    loss: BlockMean
    """Blocks are days."""
    residual: BlockMean
    """Label less what the model expects: its calibrated probability, or its prediction."""
    metrics: dict[str, float | None]


@dataclass(frozen=True)
class ReferenceSlice:
    """One value of one slice column in the evaluation rows."""

    rows: int
    loss: float
    row_variance: float
    label_mean: float
    prediction_mean: float


@dataclass(frozen=True)
class ReferenceProfile:
    lifecycle: str
    bundle: str
    snapshot: str
    windows: dict[str, list[str]]
    """First and last day of `training` and `evaluation`."""
    seasons: str
    """By which rows were told apart: `monitoring.seasons`."""
    features: FrameProfile
    columns: FrameProfile
    prediction: FrameProfile
    label: FrameProfile
    quality: ReferenceQuality
    slices: dict[str, dict[str, ReferenceSlice]]
    reliability: list[dict[str, float]]
    """Bins of binary labels, lowest predictions first."""
    calibration: Calibration | None
    """Of binary labels."""
    embedding: EmbeddingProfile | None
    """Of what the lifecycle's embedding makes of the inputs."""

    def to_json(self) -> dict[str, Any]:
        return {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "lifecycle": self.lifecycle,
            "bundle": self.bundle,
            "snapshot": self.snapshot,
            "windows": self.windows,
            "seasons": self.seasons,
            "features": self.features.to_json(),
            "columns": self.columns.to_json(),
            "prediction": self.prediction.to_json(),
            "label": self.label.to_json(),
            "quality": {
                "metric": self.quality.metric,
                "loss": self.quality.loss.mean,
                "standard_error": self.quality.loss.standard_error,
                "rows": self.quality.loss.rows,
                "metrics": self.quality.metrics,
                "loss_by_day": self.quality.loss.to_json(),
                "residual_by_day": self.quality.residual.to_json(),
            },
            "slices": {
                column: {value: asdict(one) for value, one in values.items()}
                for column, values in self.slices.items()
            },
            "calibration": self.reliability,
            "calibration_curve": self.calibration.to_json() if self.calibration else None,
            "embedding": self.embedding.to_json() if self.embedding else None,
        }

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> ReferenceProfile:
        told, curve, embedding = found["quality"], found["calibration_curve"], found["embedding"]
        return cls(
            lifecycle=found["lifecycle"],
            bundle=found["bundle"],
            snapshot=found["snapshot"],
            windows=found["windows"],
            seasons=found["seasons"],
            features=FrameProfile.from_json(found["features"]),
            columns=FrameProfile.from_json(found["columns"]),
            prediction=FrameProfile.from_json(found["prediction"]),
            label=FrameProfile.from_json(found["label"]),
            quality=ReferenceQuality(
                metric=told["metric"],
                loss=BlockMean.from_json(told["loss_by_day"]),
                residual=BlockMean.from_json(told["residual_by_day"]),
                metrics=told["metrics"],
            ),
            slices={
                column: {value: ReferenceSlice(**one) for value, one in values.items()}
                for column, values in found["slices"].items()
            },
            reliability=found["calibration"],
            calibration=Calibration.from_json(curve) if curve else None,
            embedding=EmbeddingProfile.from_json(embedding) if embedding else None,
        )


def build_profile(
    lifecycle: Lifecycle,
    directory: Path,
    bundle: Bundle,
    snapshot: Snapshot,
    prediction: NDArray[np.float64],
) -> ReferenceProfile:
    """Of a bundle and the snapshot that it comes from; `prediction` [N] is of the evaluation rows.

    Raises SpecError and DataError for the lifecycle's embedding function.
    """
    spec = lifecycle.spec
    evaluation = snapshot.evaluation
    whole = pl.concat([snapshot.train.frame, evaluation.frame], how="vertical_relaxed")
    seasons = spec.monitoring.seasons
    days, season = _days(whole), seasons_of(whole[EVENT_TIMESTAMP], seasons)
    inputs = pl.concat([_inputs(snapshot.train, bundle), _inputs(evaluation, bundle)])
    watched = watched_columns(whole, join_keys_of(bundle), spec.evaluation.slices, bundle.features)
    day = _days(evaluation.frame)
    when = with_days_enough(seasons_of(evaluation.frame[EVENT_TIMESTAMP], seasons), day)
    vectors = embed(directory, spec.monitoring.embedding, inputs)
    return ReferenceProfile(
        lifecycle=lifecycle.name,
        bundle=bundle.digest,
        snapshot=snapshot.digest,
        windows={name: list(snapshot.manifest[name]) for name in ("training", "evaluation")},
        seasons=seasons,
        features=profile_frame(inputs, days, season),
        columns=profile_frame(watched, days, season),
        prediction=profile_frame(pl.DataFrame({PREDICTION: prediction}), day, when),
        label=profile_frame(pl.DataFrame({LABEL: evaluation.label}), day, when),
        embedding=None if vectors is None else embedding_profile(vectors.to_numpy(), days, season),
        **_judged(spec.evaluation.metric, spec.label.kind, evaluation, prediction, spec.evaluation.slices),
    )


def join_keys_of(bundle: Bundle) -> list[str]:
    """Names of the keys that its features are read by."""
    views = bundle.manifest.get("online", {}).get("views", ())
    return list(dict.fromkeys(str(key["name"]) for view in views for key in view["join_keys"]))


def with_days_enough(seasons: pl.Series | None, days: pl.Series) -> pl.Series | None:
    """The seasons [N], where each was seen on days enough [N] to tell what days differ by; else None.

    Of one week each weekday is one day: compared by weekday, nothing would be left of what days differ by,
    and every week that is not its copy would be called a drift.
    """
    if seasons is None:
        return None
    counted = pl.DataFrame({"season": seasons, "day": days}).group_by("season").agg(pl.col("day").n_unique())
    return seasons if (counted["day"] >= _DAYS_OF_A_SEASON).all() else None


def watched_columns(
    frame: pl.DataFrame, join_keys: Iterable[str], slices: Sequence[str], features: Sequence[str]
) -> pl.DataFrame:
    """What is watched beside the model's inputs, as texts: slices, and join keys that are categories."""
    keys = [
        key
        for key in join_keys
        if key in frame.columns and frame[key].n_unique() * _ROWS_OF_A_CATEGORY <= frame.height
    ]
    names = [name for name in dict.fromkeys([*slices, *keys]) if name not in features]
    return frame.select(pl.col(name).cast(pl.String) for name in names)


def write_profile(store: ObjectStore, profile: ReferenceProfile) -> tuple[str, str]:
    """Key and digest. Equal snapshots and code give equal profiles, so writing it again changes nothing."""
    content = canonical_json(_finite(profile.to_json()))
    key = profile_key(profile.lifecycle, profile.bundle)
    store.put(key, content)
    return key, digest(content)


def read_profile(store: ObjectStore, lifecycle: str, bundle: str) -> tuple[ReferenceProfile, str] | None:
    """The profile of a bundle (by its digest) and its own digest; None where the bundle has none.

    Raises IntegrityError for a file that is none, StoreError.
    """
    key = profile_key(lifecycle, bundle)
    try:
        content = store.get(key)
    except NotFoundError:
        return None
    try:
        profile = ReferenceProfile.from_json(json.loads(content))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise IntegrityError(
            f"this is no reference profile: {type(error).__name__}: {error}",
            where=store.uri(key),
            fix="run the evaluate stage of that version again with force",
        ) from error
    if profile.bundle != bundle:
        raise IntegrityError(
            f"this is the profile of another bundle, {profile.bundle[:19]}…", where=store.uri(key)
        )
    return profile, digest(content)


def _inputs(rows: LabelledRows, bundle: Bundle) -> pl.DataFrame:
    return pl.DataFrame(rows.inputs_of(bundle), schema=bundle.features, orient="row").fill_nan(None)


def _days(frame: pl.DataFrame) -> pl.Series:
    return frame[EVENT_TIMESTAMP].dt.convert_time_zone("UTC").dt.date()


def _judged(
    metric: Metric,
    kind: Any,
    rows: LabelledRows,
    prediction: NDArray[np.float64],
    slices: Sequence[str],
) -> dict[str, Any]:
    label, days = rows.label, _days(rows.frame).to_numpy()
    loss = row_losses(metric, label, prediction)
    calibration = fit_calibration(metric, label, prediction, days) if kind == "binary" else None
    expected = calibration.probabilities(prediction) if calibration else prediction
    residual = label - expected
    return {
        "quality": ReferenceQuality(
            metric=metric,
            loss=block_mean(loss, days),
            residual=block_mean(residual, days),
            metrics=_finite(quality(kind, label, prediction)),
        ),
        "slices": {name: _slice(rows.column(name), label, prediction, loss) for name in slices},
        "reliability": [asdict(one) for one in reliability(label, prediction)] if kind == "binary" else [],
        "calibration": calibration,
    }


def _slice(
    values: NDArray[np.object_],
    label: NDArray[np.float64],
    prediction: NDArray[np.float64],
    loss: NDArray[np.float64],
) -> dict[str, ReferenceSlice]:
    names, of, counts = np.unique(values.astype(str), return_inverse=True, return_counts=True)
    largest = sorted(np.argsort(-counts, kind="stable")[:_SLICES])
    return {
        str(names[at]): ReferenceSlice(
            rows=int(counts[at]),
            loss=float(loss[of == at].mean()),
            row_variance=float(loss[of == at].var()),
            label_mean=float(label[of == at].mean()),
            prediction_mean=float(prediction[of == at].mean()),
        )
        for at in largest
    }


def _finite(value: Any) -> Any:
    """JSON has no NaN and no infinity: null."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value

"""Calling the user's `train`: cold, or on from the champion where that is not worse.

Equal snapshots and code give equal models: the seeds of Python's and numpy's global generators are fixed
before each call, so an estimator without a random_state is repeatable too.

With `training.warmStart` both ways are tried on the training days before a validation window, and their
losses compared on it: the last days of the training window, as many as an evaluation window has, but none
that the champion was trained on, which would flatter it. The better way then gets all training days; in a tie
the warm one does. Where the two cannot be compared the start is cold, and the reason is told.
"""

from __future__ import annotations

import inspect
import random
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from windtunnel.errors import DataError, PermanentError, SpecError
from windtunnel.features.definitions import EVENT_TIMESTAMP
from windtunnel.features.feature_rows import DAY_ENDS
from windtunnel.registry.bundle import read_manifest
from windtunnel.registry.conversion import predict_estimator
from windtunnel.registry.estimators import load_estimator, read_estimator
from windtunnel.registry.models import ModelRegistry
from windtunnel.registry.skops_bytes import untrusted_types
from windtunnel.registry.snapshots import LabelledRows
from windtunnel.stats.losses import row_losses
from windtunnel.usercode import load_object

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from windtunnel.registry.models import RegisteredVersion
    from windtunnel.stages.base import StageEnv

SEED = 0


@dataclass(frozen=True)
class Start:
    """How a model began; the losses are on the validation window of `rows` rows, in units of the metric."""

    taken: Literal["warm", "cold"]
    reason: str
    champion: str | None = None
    """Version of the champion that was gone on from, or would have been."""
    rows: int = 0
    cold_loss: float | None = None
    warm_loss: float | None = None
    leaves_nothing: str = ""
    """Why no later training can go on from this model; empty: one can."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class _Champion:
    version: str
    cutoff: date
    """The first day that it has seen nothing of."""
    estimator: bytes


def champion_of(env: StageEnv) -> RegisteredVersion | None:
    """Whom a training may go on from; None where the lifecycle does not ask for that, or nobody serves."""
    if not env.lifecycle.spec.training.warm_start:
        return None
    return ModelRegistry(env.settings.tracking_uri).champion(env.lifecycle.name)


def fit(rows: LabelledRows, env: StageEnv) -> tuple[Any, Start | None]:
    """An estimator fitted on the training set, and how it began (None without `training.warmStart`).

    Raises SpecError, DataError, PermanentError, and what the user's function raises.
    """
    if env.lifecycle.spec.label.kind == "binary" and len(set(rows.label)) < 2:
        raise DataError(
            f"all {len(rows.label):,} labels of the training set are {rows.label[0]:g}",
            where="snapshot",
            fix="widen training.windowDays, or look at how the label is made",
        )
    trainer = _Trainer(env)
    if not env.lifecycle.spec.training.warm_start:
        return trainer.train(rows), None
    champion = _champion(rows, env)
    if isinstance(champion, Start):
        env.log.info("cold start: %s", champion.reason)
        return trainer.train(rows), champion
    start = _compared(trainer, champion, rows, env)
    env.log.info("%s start: %s", start.taken, start.reason)
    return trainer.train(rows, champion if start.taken == "warm" else None), start


def _champion(rows: LabelledRows, env: StageEnv) -> _Champion | Start:
    """The champion's estimator, or the cold start of a training that has none to go on from."""
    found = champion_of(env)
    if found is None:
        return Start("cold", "there is no champion yet")
    version = found.version

    def cold(why: str) -> Start:
        return Start("cold", f"champion version {version} {why}", version)

    manifest = read_manifest(env.store, found.bundle, found.bundle_digest)
    if [str(feature["name"]) for feature in manifest["features"]] != list(rows.names):
        return cold("has other features")
    data = read_estimator(env.store, env.lifecycle.name, found.bundle_digest, manifest)
    if data is None:
        left_out = "start" in manifest  # a training with warmStart, whose facts say why
        why = "skops cannot hold it" if left_out else "it was trained without training.warmStart"
        return cold(f"left no estimator: {why}")
    if unknown := untrusted_types(data):
        # as another release wrote it
        return cold(f"holds types that are not trusted: {', '.join(unknown)}")
    return _Champion(version, date.fromisoformat(str(manifest["cutoff"])), data)


def _compared(trainer: _Trainer, champion: _Champion, rows: LabelledRows, env: StageEnv) -> Start:
    """Both ways, tried on a validation window that neither has seen."""
    spec, version = env.lifecycle.spec, champion.version
    when = rows.frame[EVENT_TIMESTAMP]
    days = when.dt.date()
    last: date = days.max()  # type: ignore[assignment]
    first = max(champion.cutoff, last - timedelta(days=spec.evaluation.window_days - 1))
    # The last day that it was trained on, as long as a day is anywhere.
    trained_on = champion.cutoff - timedelta(days=spec.label.delay_days + 1)
    over = datetime.combine(trained_on, time(), UTC) + DAY_ENDS
    fresh = ((days >= first) & (when >= over)).to_numpy()
    count = int(fresh.sum())
    if count < spec.evaluation.min_rows:
        reason = f"{count:,} training rows are newer than champion version {version}"
        return Start("cold", f"{reason}, a comparison takes {spec.evaluation.min_rows:,}", version, count)
    known, window = _only(rows, ~fresh), _only(rows, fresh)
    if len(set(known.label)) < 2:
        return Start("cold", f"the training days before {first} hold too few labels", version, count)
    losses = {}
    for way, start in (("cold", None), ("warm", champion)):
        estimator = trainer.train(known, start)
        predictions = predict_estimator(estimator, spec.label.kind, rows.names, window.inputs())
        losses[way] = float(row_losses(spec.evaluation.metric, window.label, predictions).mean())
    cold, warm = losses["cold"], losses["warm"]
    taken: Literal["warm", "cold"] = "warm" if warm <= cold else "cold"
    reason = f"{spec.evaluation.metric} {warm:.5f} on from version {version}, {cold:.5f} anew"
    return Start(taken, f"{reason}, on {count:,} rows since {first}", version, count, cold, warm)


def _only(rows: LabelledRows, chosen: NDArray[np.bool_]) -> LabelledRows:
    return LabelledRows(rows.frame.filter(chosen), rows.names, rows.label[chosen], rows.defaults)


class _Trainer:
    """The user's function, with what it is owed and what it owes."""

    def __init__(self, env: StageEnv) -> None:
        self._env = env
        self._name = env.lifecycle.spec.training.function
        self._function = load_object(env.directory, self._name)
        self._takes_champion = env.lifecycle.spec.training.warm_start
        if self._takes_champion and not _takes(self._function, 3):
            raise SpecError(
                "training.warmStart is on, but it takes no champion",
                where=self._name,
                fix="write `def train(features, label, champion)`; champion is the champion's fitted "
                "estimator, or None for a cold start",
            )

    def train(self, rows: LabelledRows, champion: _Champion | None = None) -> Any:
        """A fitted estimator."""
        import pandas as pd

        label = pd.Series(rows.label, name=self._env.lifecycle.spec.label.column)
        if self._env.lifecycle.spec.label.kind == "binary":
            label = label.astype("int64")
        features = pd.DataFrame(rows.inputs(), columns=list(rows.names))
        self._env.log.info("training on %d rows of %d features", len(features), features.shape[1])
        for name in features.columns[features.isna().all()]:
            self._env.log.warning("feature %r has no value in the whole training set", name)
        more = [load_estimator(champion.estimator) if champion else None] if self._takes_champion else []
        random.seed(SEED)
        np.random.seed(SEED)
        try:
            estimator = self._function(features, label, *more)
        except MemoryError as error:
            raise PermanentError(
                f"training ran out of memory on {len(features):,} rows of {features.shape[1]} features",
                where=self._name,
                fix="give stages.train a larger class, or shorten training.windowDays",
            ) from error
        if not hasattr(estimator, "predict"):
            raise SpecError(
                f"it returned {type(estimator).__name__}, not a fitted estimator",
                where=self._name,
                fix="end it with `return estimator.fit(features, label)`",
            )
        return estimator


def _takes(function: Any, count: int) -> bool:
    try:
        inspect.signature(function).bind(*range(count))
    except TypeError:
        return False
    except ValueError:
        return True  # one without a signature, of C: the call will tell
    return True

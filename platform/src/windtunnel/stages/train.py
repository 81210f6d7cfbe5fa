"""train: a snapshot → a model version with its bundle, by the user's function.

Equal snapshots and code give equal models: the seeds of Python's and numpy's global generators are fixed
before the function is called, so an estimator without a random_state is repeatable too.
"""

from __future__ import annotations

import random
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.digests import digest_directory
from windtunnel.errors import DataError, PermanentError, SpecError
from windtunnel.features.describe import describe_online
from windtunnel.registry.bundle import WrittenBundle, read_bundle, write_bundle
from windtunnel.registry.conversion import check_estimator, convert, predict_estimator
from windtunnel.registry.models import DIGEST_TAG, ModelRegistry
from windtunnel.registry.snapshots import Snapshot, read_snapshot
from windtunnel.stages.base import Reference, StageResult
from windtunnel.usercode import load_object

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from windtunnel.registry.conversion import Converted
    from windtunnel.stages.base import StageEnv, StageRequest

SEED = 0
GOLDEN_ROWS = 20
LIBRARIES = ("scikit-learn", "skl2onnx", "onnxruntime", "numpy")


def identity(request: StageRequest, env: StageEnv) -> dict[str, Any]:
    return {"snapshot": request.inputs["snapshot"].digest, "code": env.code_version}


def still_there(result: StageResult, env: StageEnv) -> bool:
    """Whether MLflow still knows the version."""
    model, bundle = result.outputs["model"], result.outputs["bundle"]
    found = ModelRegistry(env.settings.tracking_uri).find(env.lifecycle.name, bundle.digest)
    return found is not None and found.version == model.meta["version"]


def run(request: StageRequest, env: StageEnv) -> StageResult:
    reference = request.inputs["snapshot"]
    snapshot = read_snapshot(env.store, reference.uri, reference.digest)
    described = describe_online(env.directory, env.lifecycle)
    _check_features(snapshot, described["features"])
    estimator = _fit(snapshot, env)
    kind, names = env.lifecycle.spec.label.kind, snapshot.train.names
    check_estimator(estimator, kind)
    converted = convert(estimator, kind, names, snapshot.evaluation.inputs())
    for line in converted.refused:
        env.log.info("not served as %s", line)
    env.log.info(
        "served as %s, which answers %d rows as the trained model does, within %.1g",
        converted.runtime,
        sum(converted.parity[of] for of in ("rows", "missing_rows", "shuffled_rows")),
        converted.parity["max_abs_difference"],
    )
    bundle = _write(estimator, converted, snapshot, described, env)
    read_bundle(env.store, bundle.uri, bundle.digest)  # what cannot be read back is never registered
    return _register(estimator, converted, bundle, snapshot, request, env)


def _check_features(snapshot: Snapshot, features: list[dict[str, str]]) -> None:
    declared = [feature["name"] for feature in features]
    if list(snapshot.train.names) != declared:
        raise DataError(
            f"the snapshot has features {list(snapshot.train.names)}, the lifecycle now declares {declared}",
            where="snapshot",
            fix="run the snapshot stage again",
        )


def _fit(snapshot: Snapshot, env: StageEnv) -> Any:
    import pandas as pd

    function = env.lifecycle.spec.training.function
    train = load_object(env.directory, function)
    rows = snapshot.train
    features = pd.DataFrame(rows.inputs(), columns=list(rows.names))
    label = pd.Series(rows.label, name=env.lifecycle.spec.label.column)
    if env.lifecycle.spec.label.kind == "binary":
        if len(set(rows.label)) < 2:
            raise DataError(
                f"all {len(label):,} labels of the training set are {rows.label[0]:g}",
                where="snapshot",
                fix="widen training.windowDays, or look at how the label is made",
            )
        label = label.astype("int64")
    env.log.info("training on %d rows of %d features", len(features), features.shape[1])
    for name in features.columns[features.isna().all()]:
        env.log.warning("feature %r has no value in the whole training set", name)
    random.seed(SEED)
    np.random.seed(SEED)
    try:
        estimator = train(features, label)
    except MemoryError as error:
        raise PermanentError(
            f"training ran out of memory on {len(features):,} rows of {features.shape[1]} features",
            where=function,
            fix="give stages.train a larger class, or shorten training.windowDays",
        ) from error
    if not hasattr(estimator, "predict"):
        raise SpecError(
            f"it returned {type(estimator).__name__}, not a fitted estimator",
            where=function,
            fix="end it with `return estimator.fit(features, label)`",
        )
    return estimator


def _write(
    estimator: Any, converted: Converted, snapshot: Snapshot, described: dict[str, Any], env: StageEnv
) -> WrittenBundle:
    kind, names = env.lifecycle.spec.label.kind, snapshot.train.names
    golden = _golden(snapshot.evaluation.inputs(), allow_missing=converted.input["missing"] == "allowed")
    description = {
        "lifecycle": env.lifecycle.name,
        "runtime": converted.runtime,
        "input": converted.input,
        "output": converted.output,
        "parity": converted.parity,
        **described,
        "snapshot": snapshot.digest,
        "spec": env.lifecycle.digest,
        "code": env.code_version,
        "lifecycle_files": digest_directory(env.directory),
        "cutoff": snapshot.manifest["cutoff"],
        "estimator": type(estimator).__name__,
        "libraries": {name: version(name) for name in LIBRARIES},
    }
    return write_bundle(
        env.store,
        description,
        converted.model,
        (golden, predict_estimator(estimator, kind, names, golden)),
    )


def _golden(inputs: NDArray[np.float64], allow_missing: bool) -> NDArray[np.float64]:
    """Rows spread over the evaluation set and, where the model takes it, one row without any value."""
    chosen = inputs[np.unique(np.linspace(0, len(inputs) - 1, GOLDEN_ROWS).astype(int))]
    return np.concatenate([chosen, np.full((1, inputs.shape[1]), np.nan)]) if allow_missing else chosen


def _register(
    estimator: Any,
    converted: Converted,
    bundle: WrittenBundle,
    snapshot: Snapshot,
    request: StageRequest,
    env: StageEnv,
) -> StageResult:
    name = env.lifecycle.name
    params = {"estimator": type(estimator).__name__, "runtime": converted.runtime}
    if hasattr(estimator, "get_params"):
        params |= {key: str(value) for key, value in estimator.get_params(deep=False).items()}
    registered = ModelRegistry(env.settings.tracking_uri).register(
        name,
        bundle.uri,
        tags={
            "windtunnel.spec": env.lifecycle.digest,
            "windtunnel.code": env.code_version,
            "windtunnel.snapshot": snapshot.digest,
            "windtunnel.bundle": bundle.uri,
            DIGEST_TAG: bundle.digest,
            "windtunnel.run_id": request.run_id,
        },
        params=params,
        metrics={
            "train_rows": len(snapshot.train.label),
            "bundle_bytes": bundle.bytes,
            "parity_max_abs_difference": converted.parity["max_abs_difference"],
        },
    )
    env.log.info("%s version %s, bundle %s", name, registered.version, bundle.digest)
    model = Reference(
        "model", f"models:/{name}/{registered.version}", bundle.digest, meta={"version": registered.version}
    )
    packed = Reference(
        "bundle", bundle.uri, bundle.digest, bytes=bundle.bytes, meta={"runtime": converted.runtime}
    )
    facts = {
        "version": registered.version,
        "estimator": type(estimator).__name__,
        "runtime": converted.runtime,
        "train_rows": len(snapshot.train.label),
        "parity_max_abs_difference": converted.parity["max_abs_difference"],
    }
    return StageResult(outputs={"model": model, "bundle": packed}, facts=facts)

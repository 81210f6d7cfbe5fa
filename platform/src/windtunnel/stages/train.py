"""train: a snapshot → a model version with its bundle, by the user's function."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.digests import digest, digest_directory
from windtunnel.errors import DataError, PermanentError
from windtunnel.features.describe import describe_online
from windtunnel.ledger import Ledger
from windtunnel.monitoring.policy import RETRAINED
from windtunnel.registry.bundle import WrittenBundle, read_bundle, write_bundle
from windtunnel.registry.conversion import check_estimator, convert, predict_estimator
from windtunnel.registry.estimators import ESTIMATOR, estimator_key
from windtunnel.registry.models import DIGEST_TAG, ModelRegistry
from windtunnel.registry.skops_bytes import skops_bytes
from windtunnel.registry.snapshots import Snapshot, read_snapshot
from windtunnel.stages.base import Reference, StageResult
from windtunnel.stages.fitting import champion_of, fit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from windtunnel.registry.conversion import Converted
    from windtunnel.stages.base import StageEnv, StageRequest
    from windtunnel.stages.fitting import Start

GOLDEN_ROWS = 20
LIBRARIES = ("scikit-learn", "skl2onnx", "onnxruntime", "numpy")


def identity(request: StageRequest, env: StageEnv) -> dict[str, Any]:
    champion = champion_of(env)
    return {
        "snapshot": request.inputs["snapshot"].digest,
        "code": env.code_version,
        "champion": champion.bundle_digest if champion else None,
    }


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
    estimator, start = fit(snapshot.train, env)
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
    left = b""
    if start is not None:
        left, start = _left(estimator, start, env)
    bundle = _write(estimator, converted, snapshot, described, start, left, env)
    read_bundle(env.store, bundle.uri, bundle.digest)  # what cannot be read back is never registered
    return _register(estimator, converted, bundle, snapshot, start, request, env)


def tell(request: StageRequest, result: StageResult, env: StageEnv) -> None:
    """Where somebody or something said why this training was to be, let the ledger tell what it gave; also
    when it gave what was there already.
    """
    because = request.params.get("reason")
    if not because:
        return
    entry = {
        "action": RETRAINED,
        "lifecycle": env.lifecycle.name,
        "version": result.outputs["model"].meta["version"],
        "bundle_digest": result.outputs["bundle"].digest,
        "run_id": request.run_id,
        "because": str(because),
        "measure": request.params.get("measure"),
    }
    ledger = Ledger(env.store, env.lifecycle.name)
    ledger.append(
        entry, identity=f"{RETRAINED}:{request.run_id}", since=datetime.now(UTC) - timedelta(days=1)
    )


def _check_features(snapshot: Snapshot, features: list[dict[str, str]]) -> None:
    declared = [feature["name"] for feature in features]
    if list(snapshot.train.names) != declared:
        raise DataError(
            f"the snapshot has features {list(snapshot.train.names)}, the lifecycle now declares {declared}",
            where="snapshot",
            fix="run the snapshot stage again",
        )


def _left(estimator: Any, start: Start, env: StageEnv) -> tuple[bytes, Start]:
    """The estimator for a later training to go on from; empty where skops cannot hold it: the model may be
    as good, and is served by ONNX.
    """
    try:
        return skops_bytes(estimator), start
    except PermanentError as error:
        env.log.warning("no later training can go on from this model: %s", error.what)
        return b"", replace(start, leaves_nothing=error.what)


def _write(
    estimator: Any,
    converted: Converted,
    snapshot: Snapshot,
    described: dict[str, Any],
    start: Start | None,
    left: bytes,
    env: StageEnv,
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
    if start is not None:
        description["start"] = {"taken": start.taken, "champion": start.champion}
    if left:
        description[ESTIMATOR] = digest(left)
    written = write_bundle(
        env.store,
        description,
        converted.model,
        (golden, predict_estimator(estimator, kind, names, golden)),
    )
    if left:
        env.store.put(estimator_key(env.lifecycle.name, written.digest), left)
    return written


def _golden(inputs: NDArray[np.float64], allow_missing: bool) -> NDArray[np.float64]:
    """Rows spread over the evaluation set and, where the model takes it, one row without any value."""
    chosen = inputs[np.unique(np.linspace(0, len(inputs) - 1, GOLDEN_ROWS).astype(int))]
    return np.concatenate([chosen, np.full((1, inputs.shape[1]), np.nan)]) if allow_missing else chosen


def _origin(start: Start | None, request: StageRequest) -> dict[str, str]:
    """Tags of a version that was trained for a reason, or on from another version."""
    because = request.params.get("reason")
    told = {"windtunnel.because": str(because)} if because else {}
    if start is not None and start.taken == "warm" and start.champion:
        told["windtunnel.parent"] = start.champion
    return told


def _register(
    estimator: Any,
    converted: Converted,
    bundle: WrittenBundle,
    snapshot: Snapshot,
    start: Start | None,
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
            **_origin(start, request),
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
    facts: dict[str, Any] = {
        "version": registered.version,
        "estimator": type(estimator).__name__,
        "runtime": converted.runtime,
        "train_rows": len(snapshot.train.label),
        "parity_max_abs_difference": converted.parity["max_abs_difference"],
    }
    if start is not None:
        facts["start"] = start.to_json()
    return StageResult(outputs={"model": model, "bundle": packed}, facts=facts)

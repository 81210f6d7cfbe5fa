"""Serving bundles: what is deployed. Written once under the digest of their manifest, verified on every
reading.

    <lifecycle>/bundles/<hex>/manifest.json   what it is, where it comes from, and the digest of every other
    file
                              model.onnx | model.skops
                              golden.json     requests with the answers that the trained model gave
                              reference.json  the reference profile; written later, by the evaluation

Equal content gives equal bytes, so a bundle's digest names the model. The reference profile is no part of
that: it tells of rows that the model was judged on, and its digest stands in the verdict. The serving runtime
imports this module: numpy, onnxruntime and the object store, nothing heavier.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.digests import canonical_json, digest
from windtunnel.errors import IntegrityError, RequestError
from windtunnel.registry.renewal import MANIFEST
from windtunnel.registry.runtimes import MODEL_FILES, load_predictor

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from windtunnel.objects import ObjectStore
    from windtunnel.registry.runtimes import Predictor

API_VERSION = "windtunnel.dev/v1alpha1"
GOLDEN = "golden.json"


@dataclass(frozen=True)
class WrittenBundle:
    """Where a bundle is and what it is called; `bytes` is the size of all its files."""

    uri: str
    digest: str
    bytes: int


@dataclass(frozen=True)
class Bundle:
    """A verified bundle, ready to predict."""

    uri: str
    digest: str
    manifest: dict[str, Any]
    golden: tuple[NDArray[np.float64], NDArray[np.float64]]
    """Inputs [G, F] (NaN = missing) and the answers [G] of the model that was trained."""
    predictor: Predictor

    @property
    def features(self) -> list[str]:
        """Names of the input columns, in order."""
        return [str(feature["name"]) for feature in self.manifest["features"]]

    @property
    def defaults(self) -> dict[str, float]:
        """What stands for a missing value, of the features that have a default."""
        stored = [of for view in self.manifest.get("online", {}).get("views", ()) for of in view["features"]]
        return {str(of["name"]): float(of["default"]) for of in stored if "default" in of}

    def predict(self, inputs: NDArray[np.float64]) -> NDArray[np.float64]:
        """Probabilities or values [N] of inputs [N, F]; raises RequestError for another shape."""
        if inputs.ndim != 2 or inputs.shape[1] != len(self.manifest["features"]):
            raise RequestError(
                f"inputs have shape {list(inputs.shape)}, the model takes [N, {len(self.features)}]",
                where=self.uri,
            )
        return self.predictor(inputs)


def write_bundle(
    store: ObjectStore,
    description: Mapping[str, Any],
    model: bytes,
    golden: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> WrittenBundle:
    """Write a bundle, the manifest last, so that a manifest that can be read is a bundle that is whole.

    description: the manifest without `apiVersion`, `kind` and `files`; names `lifecycle` and `runtime`.
    """
    inputs, outputs = golden
    files = {
        MODEL_FILES[description["runtime"]]: model,
        GOLDEN: canonical_json({"inputs": _to_json(inputs), "outputs": [float(value) for value in outputs]}),
    }
    manifest = {
        "apiVersion": API_VERSION,
        "kind": "Bundle",
        **description,
        "files": {name: digest(data) for name, data in files.items()},
    }
    files[MANIFEST] = canonical_json(manifest)
    name = digest(files[MANIFEST])
    prefix = bundle_folder(description["lifecycle"], name)
    for file, data in files.items():
        store.put(f"{prefix}/{file}", data)
    return WrittenBundle(store.uri(prefix), name, sum(len(data) for data in files.values()))


def read_bundle(store: ObjectStore, uri: str, expected: str) -> Bundle:
    """Read and verify: the manifest against `expected`, every file against the manifest.

    Raises IntegrityError, NotFoundError, StoreError.
    """
    manifest = read_manifest(store, uri, expected)
    prefix = store.key(uri.rstrip("/"))
    files = {}
    for name, promised in manifest["files"].items():
        files[name] = store.get(f"{prefix}/{name}")
        _verify(files[name], promised, f"{uri}/{name}")
    golden = json.loads(files[GOLDEN])
    return Bundle(
        uri=uri,
        digest=expected,
        manifest=manifest,
        golden=(
            _from_json(golden["inputs"], len(manifest["features"])),
            np.asarray(golden["outputs"], np.float64),
        ),
        predictor=load_predictor(manifest, files[MODEL_FILES[manifest["runtime"]]], uri),
    )


def read_manifest(store: ObjectStore, uri: str, expected: str) -> dict[str, Any]:
    """What a bundle is and where it comes from, verified.

    Raises IntegrityError, NotFoundError, StoreError.
    """
    content = store.get(f"{store.key(uri.rstrip('/'))}/{MANIFEST}")
    _verify(content, expected, f"{uri}/{MANIFEST}")
    manifest: dict[str, Any] = json.loads(content)
    return manifest


def bundle_folder(lifecycle: str, name: str) -> str:
    """The key of a bundle's folder, by its digest."""
    return f"{lifecycle}/bundles/{name.removeprefix('sha256:')}"


def profile_key(lifecycle: str, name: str) -> str:
    """The key of the reference profile of a bundle, by the bundle's digest. (Bundles of older releases hold a
    `profile.json` of another form, which is sealed with them.)
    """
    return f"{bundle_folder(lifecycle, name)}/reference.json"


def _verify(data: bytes, promised: str, where: str) -> None:
    found = digest(data)
    if found != promised:
        raise IntegrityError(
            f"the content has digest {found[:19]}…, promised was {promised[:19]}…",
            where=where,
            fix="the file was changed or cut short since: train again, or restore it from a backup",
        )


def _to_json(inputs: NDArray[np.float64]) -> list[list[float | None]]:
    """JSON has no NaN: null stands for missing."""
    return [[None if np.isnan(value) else float(value) for value in row] for row in inputs]


def _from_json(rows: list[list[float | None]], width: int) -> NDArray[np.float64]:
    return np.array(rows, dtype=np.float64).reshape(len(rows), width)

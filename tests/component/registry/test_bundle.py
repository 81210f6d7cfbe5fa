"""Bundles: deterministic, verified, lean to read."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from windtunnel.errors import IntegrityError, NotFoundError, PermanentError, RequestError
from windtunnel.objects import ObjectStore, open_store
from windtunnel.registry.bundle import WrittenBundle, profile_key, read_bundle, write_bundle
from windtunnel.registry.runtimes import load_predictor

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return open_store(str(tmp_path / "store"), {})


def onnx_model() -> bytes:
    """probability = mean of the two features, as float32."""
    import onnx

    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    node = helper.make_node("ReduceMean", ["features", "axes"], ["probability"], keepdims=0)
    axes = helper.make_tensor("axes", onnx.TensorProto.INT64, [1], [1])
    graph = helper.make_graph(
        [node],
        "model",
        [helper.make_tensor_value_info("features", kind, [None, 2])],
        [helper.make_tensor_value_info("probability", kind, [None])],
        [axes],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return bytes(model.SerializeToString(deterministic=True))


DESCRIPTION: dict[str, Any] = {
    "lifecycle": "demo",
    "runtime": "onnx",
    "input": {"name": "features", "dtype": "float32", "missing": "allowed"},
    "output": {"name": "probability", "kind": "binary"},
    "features": [{"name": "a", "source": "view:a"}, {"name": "b", "source": "request"}],
}
GOLDEN = (np.array([[0.0, 1.0], [np.nan, 1.0]]), np.array([0.5, 0.25]))


def write(store: ObjectStore, **changes: Any) -> WrittenBundle:
    return write_bundle(store, {**DESCRIPTION, **changes}, onnx_model(), GOLDEN)


def test_what_is_written_is_read_and_predicts(store: ObjectStore) -> None:
    written = write(store)
    bundle = read_bundle(store, written.uri, written.digest)
    assert bundle.features == ["a", "b"]
    assert bundle.predict(np.array([[0.2, 0.4]])) == pytest.approx([0.3])


def test_golden_requests_keep_their_missing_values(store: ObjectStore) -> None:
    written = write(store)
    inputs, outputs = read_bundle(store, written.uri, written.digest).golden
    np.testing.assert_array_equal(inputs, GOLDEN[0])
    np.testing.assert_array_equal(outputs, GOLDEN[1])


def test_equal_content_has_one_name(store: ObjectStore) -> None:
    assert write(store) == write(store)
    assert write(store).digest != write(store, code="other").digest


@pytest.mark.parametrize("file", ["manifest.json", "model.onnx", "golden.json"])
def test_a_changed_file_is_refused_by_name(store: ObjectStore, file: str) -> None:
    written = write(store)
    key = store.key(written.uri) + "/" + file
    store.put(key, store.get(key) + b" ")
    with pytest.raises(IntegrityError, match=file):
        read_bundle(store, written.uri, written.digest)


def test_a_reference_profile_beside_it_is_no_part_of_the_bundle(store: ObjectStore) -> None:
    written = write(store)
    key = profile_key("demo", written.digest)
    assert key.startswith(store.key(written.uri) + "/")
    for content in (b"first", b"second"):
        store.put(key, content)
        assert read_bundle(store, written.uri, written.digest).digest == written.digest


def test_another_bundle_than_promised_is_refused(store: ObjectStore) -> None:
    first, second = write(store), write(store, code="other")
    with pytest.raises(IntegrityError):
        read_bundle(store, first.uri, second.digest)


def test_an_absent_bundle_is_not_found(store: ObjectStore) -> None:
    with pytest.raises(NotFoundError):
        read_bundle(store, store.uri("demo/bundles/none"), "sha256:0")


def test_a_wrong_shape_is_refused(store: ObjectStore) -> None:
    written = write(store)
    bundle = read_bundle(store, written.uri, written.digest)
    for shape in ((1, 3), (2,)):
        with pytest.raises(RequestError, match="takes"):
            bundle.predict(np.zeros(shape))


def test_an_unknown_runtime_and_broken_bytes_are_refused(store: ObjectStore) -> None:
    model = write_bundle(store, DESCRIPTION, b"no model", GOLDEN)
    with pytest.raises(IntegrityError, match="onnxruntime"):
        read_bundle(store, model.uri, model.digest)
    written = write_bundle(store, {**DESCRIPTION, "runtime": "skops"}, b"no model", GOLDEN)
    with pytest.raises(IntegrityError, match="skops"):
        read_bundle(store, written.uri, written.digest)
    with pytest.raises(PermanentError, match="unknown"):
        load_predictor({"runtime": "java"}, b"", "here")


def test_reading_bundles_imports_nothing_heavy() -> None:
    code = "import sys, windtunnel.registry.bundle; print([m for m in sys.modules if '.' not in m])"
    found = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ).stdout
    for heavy in ("mlflow", "pandas", "polars", "sklearn", "scipy", "feast", "onnx", "skl2onnx", "skops"):
        assert f"'{heavy}'" not in found

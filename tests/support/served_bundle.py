"""A small model of known answers, as a real bundle: what tests and benchmarks of serving serve.

Its answer is a logistic function of `weights · features`; a missing feature counts as zero. Half of its
features come from two online views, the rest from the request.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from windtunnel.registry.bundle import write_bundle
from windtunnel.spec.servedmodel import ModelVersion

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from windtunnel.objects import ObjectStore

LIFECYCLE = "flight_delay"
FEATURES = {
    "carrier_delay": "carrier_day:carrier_delay",
    "carrier_flights": "carrier_day:carrier_flights",
    "route_delay": "route_day:route_delay",
    "hour": "request",
    "distance": "request",
}
VIEWS = [
    {
        "name": "carrier_day",
        "join_keys": [{"name": "carrier", "type": "STRING"}],
        "ttl_seconds": 86400,
        "features": [
            {"name": "carrier_delay", "type": "Float64"},
            {"name": "carrier_flights", "type": "Int64"},
        ],
    },
    {
        "name": "route_day",
        "join_keys": [{"name": "carrier", "type": "STRING"}, {"name": "route_id", "type": "INT64"}],
        "ttl_seconds": 0,
        "features": [{"name": "route_delay", "type": "Float64"}],
    },
]


def answers(rows: Any, weight: float) -> np.ndarray[Any, np.dtype[np.float64]]:
    """What a model of that weight says to rows [N, F]."""
    total = np.nan_to_num(np.asarray(rows, dtype=np.float64)).sum(axis=1) * weight
    result: np.ndarray[Any, np.dtype[np.float64]] = 1 / (1 + np.exp(-total))
    return result


def make_version(
    store: ObjectStore,
    version: str,
    weight: float,
    golden: list[float] | None = None,
    dtype: str = "float32",
    features: Mapping[str, str] = FEATURES,
    views: Sequence[dict[str, Any]] = VIEWS,
    lifecycle: str = LIFECYCLE,
) -> ModelVersion:
    """Write a bundle; `golden` overrides the golden answers."""
    model = logistic(weight, dtype, len(features))
    return write_version(store, version, model, weight, golden, dtype, features, views, lifecycle)


def write_version(
    store: ObjectStore,
    version: str,
    model: bytes,
    weight: float,
    golden: list[float] | None = None,
    dtype: str = "float32",
    features: Mapping[str, str] = FEATURES,
    views: Sequence[dict[str, Any]] = VIEWS,
    lifecycle: str = LIFECYCLE,
) -> ModelVersion:
    """Write a bundle of any model of these `features` that answers as that of `weight` does."""
    rows = [[0.1, 2.0, 0.3, 4.0, 0.5], [np.nan, 1.0, -1.0, 0.0, 2.0]]
    inputs = np.array([np.resize(row, len(features)) for row in rows])
    outputs = np.array(golden) if golden else answers(inputs, weight)
    description = {
        "lifecycle": lifecycle,
        "runtime": "onnx",
        "input": {"name": "features", "dtype": dtype},
        "output": {"name": "probability", "kind": "binary"},
        "parity": {"rows": len(inputs), "max_abs_difference": 1e-6},
        "features": [{"name": name, "source": source} for name, source in features.items()],
        "online": {"project": lifecycle, "views": list(views)},
    }
    written = write_bundle(store, description, model, (inputs, outputs))
    return ModelVersion(version=version, bundle=written.uri, digest=written.digest)


def served_model(
    champion: ModelVersion,
    generation: int = 1,
    *,
    challenger: ModelVersion | None = None,
    traffic: int = 0,
    shadow: bool = False,
) -> dict[str, Any]:
    """The ServedModel object."""
    beside = {"challenger": challenger.model_dump(mode="json")} if challenger else {}
    return {
        "apiVersion": "windtunnel.dev/v1alpha1",
        "kind": "ServedModel",
        "metadata": {"name": "flight-delay", "generation": generation, "uid": "a-uid"},
        "spec": {
            "lifecycle": LIFECYCLE,
            "champion": champion.model_dump(mode="json"),
            "traffic": traffic,
            "shadow": shadow,
            **beside,
        },
    }


def write_served_model(path: Path, value: dict[str, Any]) -> None:
    """Replace the file in one step, as a writer of ServedModels does."""
    whole = path.with_suffix(".new")
    whole.write_text(json.dumps(value))
    whole.replace(path)


def matrix_request(*rows: list[float | None], key: str | int | None = None) -> dict[str, Any]:
    """A request in the form of one tensor."""
    data = [value for row in rows for value in row]
    inputs = [tensor("features", "FP64", data, [len(rows), len(FEATURES)])]
    return {"inputs": inputs} if key is None else {"inputs": inputs, "parameters": {"key": key}}


def tensor(name: str, datatype: str, data: list[Any], shape: list[int] | None = None) -> dict[str, Any]:
    """An input; its shape is that of one column unless it is given."""
    return {"name": name, "datatype": datatype, "shape": shape or [len(data)], "data": data}


def logistic(weight: float | list[float], dtype: str = "float32", width: int = len(FEATURES)) -> bytes:
    """The model's ONNX; a list has one weight for each feature."""
    weights = weight if isinstance(weight, list) else [weight] * width
    kind = TensorProto.FLOAT if dtype == "float32" else TensorProto.DOUBLE
    nodes = [
        helper.make_node("IsNaN", ["features"], ["missing"]),
        helper.make_node("Where", ["missing", "zero", "features"], ["filled"]),
        helper.make_node("MatMul", ["filled", "weights"], ["total"]),
        helper.make_node("Sigmoid", ["total"], ["probability"]),
    ]
    graph = helper.make_graph(
        nodes,
        "logistic",
        [helper.make_tensor_value_info("features", kind, [None, width])],
        [helper.make_tensor_value_info("probability", kind, [None, 1])],
        [
            helper.make_tensor("zero", kind, [1], [0.0]),
            helper.make_tensor("weights", kind, [width, 1], weights),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())

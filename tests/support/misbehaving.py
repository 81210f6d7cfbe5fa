"""Bundles that pass their rehearsal and misbehave later: when a feature is larger than `LOUD`.

Nothing in the product knows of them; they are ONNX models as anybody could train them by mistake.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import onnx
from onnx import TensorProto, helper
from served_bundle import FEATURES, LIFECYCLE, write_version

if TYPE_CHECKING:
    from windtunnel.objects import ObjectStore
    from windtunnel.spec.servedmodel import ModelVersion

LOUD = 100.0
KINDS = ("raises", "not_a_number", "memory", "slow", "wrong_length")
"""Those that live on. There is one more, `crashes`."""


def make_misbehaving(store: ObjectStore, version: str, kind: str, lifecycle: str = LIFECYCLE) -> ModelVersion:
    """A version that answers as the one of weight 1 does, until a feature is loud; then it

    raises; answers not_a_number; asks for as many kB of memory as the feature says; is slow, by about as many
    times 10 µs; answers with a wrong_length (one answer for all rows); or crashes, with its whole process.
    """
    return write_version(store, version, _model(kind, version), 1.0, lifecycle=lifecycle)


def _model(kind: str, version: str) -> bytes:
    nodes, initializers = _MISBEHAVIOURS[kind]()
    width = len(FEATURES)
    graph = helper.make_graph(
        [
            helper.make_node("IsNaN", ["features"], ["missing"]),
            helper.make_node("Where", ["missing", "zero", "features"], ["filled"]),
            helper.make_node("MatMul", ["filled", "weights"], ["total"]),
            helper.make_node("Sigmoid", ["total"], ["good"]),
            helper.make_node("ReduceMax", ["filled"], ["loudest"], keepdims=0),
            helper.make_node("Greater", ["loudest", "loud"], ["is_loud"]),
            *nodes,
        ],
        f"misbehaving-{version}",  # each is a bundle of its own: serving remembers digests that crashed
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, [None, width])],
        [helper.make_tensor_value_info("probability", TensorProto.FLOAT, [None, None])],
        [
            _floats("zero", [0.0]),
            _floats("loud", [LOUD]),
            helper.make_tensor("weights", TensorProto.FLOAT, [width, 1], [1.0] * width),
            *initializers,
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def _floats(name: str, values: list[float]) -> Any:
    return helper.make_tensor(name, TensorProto.FLOAT, [len(values)], values)


def _integers(name: str, values: list[int]) -> Any:
    return helper.make_tensor(name, TensorProto.INT64, [len(values)], values)


def _raises() -> tuple[list[Any], list[Any]]:
    nodes = [
        helper.make_node("Where", ["is_loud", "five", "naught"], ["index"]),
        helper.make_node("Gather", ["zero", "index"], ["poison"]),
        helper.make_node("Add", ["good", "poison"], ["probability"]),
    ]
    return nodes, [_integers("five", [5]), _integers("naught", [0])]


def _not_a_number() -> tuple[list[Any], list[Any]]:
    nodes = [
        helper.make_node("Where", ["is_loud", "nan", "zero"], ["poison"]),
        helper.make_node("Add", ["good", "poison"], ["probability"]),
    ]
    return nodes, [_floats("nan", [float("nan")])]


def _memory() -> tuple[list[Any], list[Any]]:
    nodes = [
        helper.make_node("Where", ["is_loud", "loudest", "zero"], ["size"]),
        helper.make_node("Mul", ["size", "kilo"], ["floats"]),
        helper.make_node("Cast", ["floats"], ["length"], to=TensorProto.INT64),
        helper.make_node("ConstantOfShape", ["length"], ["heap"]),
        helper.make_node("Sin", ["heap"], ["written"]),
        helper.make_node("ReduceSum", ["written"], ["poison"], keepdims=0),
        helper.make_node("Add", ["good", "poison"], ["probability"]),
    ]
    return nodes, [_floats("kilo", [256.0])]


def _slow() -> tuple[list[Any], list[Any]]:
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["going"], ["still_going"]),
            helper.make_node("Sin", ["before"], ["after"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("step", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("before", TensorProto.FLOAT, [1]),
        ],
        [
            helper.make_tensor_value_info("still_going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("after", TensorProto.FLOAT, [1]),
        ],
    )
    nodes = [
        helper.make_node("Where", ["is_loud", "loudest", "zero"], ["length"]),
        helper.make_node("Cast", ["length"], ["trips"], to=TensorProto.INT64),
        helper.make_node("Squeeze", ["trips"], ["trip_count"]),
        helper.make_node("Loop", ["trip_count", "", "zero"], ["poison"], body=body),
        helper.make_node("Add", ["good", "poison"], ["probability"]),
    ]
    return nodes, []


def _wrong_length() -> tuple[list[Any], list[Any]]:
    nodes = [
        helper.make_node("Shape", ["good"], ["shape"]),
        helper.make_node("Where", ["is_loud", "one", "shape"], ["kept"]),
        helper.make_node("Slice", ["good", "naughts", "kept"], ["probability"]),
    ]
    return nodes, [_integers("one", [1, 1]), _integers("naughts", [0, 0])]


def _crashes() -> tuple[list[Any], list[Any]]:
    # The one division that onnxruntime does not look at before: no 64 bits hold the result, SIGFPE.
    nodes = [
        helper.make_node("Where", ["is_loud", "minus_one", "plus_one"], ["divisor"]),
        helper.make_node("Div", ["least", "divisor"], ["quotient"]),
        helper.make_node("Cast", ["quotient"], ["number"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["number", "zero"], ["poison"]),
        helper.make_node("Add", ["good", "poison"], ["probability"]),
    ]
    return nodes, [_integers("minus_one", [-1]), _integers("plus_one", [1]), _integers("least", [-(2**63)])]


_MISBEHAVIOURS = {
    "raises": _raises,
    "not_a_number": _not_a_number,
    "memory": _memory,
    "slow": _slow,
    "wrong_length": _wrong_length,
    "crashes": _crashes,
}

"""A fitted estimator → what serving runs, with proof that both give the same answers.

ONNX where it does: float32 inputs first (what trees and imputers take in ONNX), then float64. A conversion
counts only if it agrees with the estimator within the tolerance on every row of the evaluation set, on rows
with each feature missing, and on rows with columns shuffled, which reach combinations that no day has shown
yet. Conversions are known that silently answer something else (HistGradientBoosting with
categorical_features): those fail here, and the bundle carries the estimator itself as skops.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from windtunnel.errors import DataError, PermanentError, WindtunnelError
from windtunnel.registry.runtimes import ONNX, SKOPS, load_predictor
from windtunnel.registry.skops_bytes import skops_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

Kind = Literal["binary", "regression"]

TOLERANCE = 1e-5
"""Largest difference of a probability; of a value, in units of the largest prediction (at least 1)."""
_MISSING_ROWS = 50
_SHUFFLED_ROWS = 1000
_OUTPUTS = {"binary": "probability", "regression": "value"}


@dataclass(frozen=True)
class Converted:
    """A model for serving and the part of the manifest that describes it."""

    runtime: str
    model: bytes
    input: dict[str, Any]
    output: dict[str, str]
    parity: dict[str, Any]
    """rows, missing_rows, shuffled_rows, max_abs_difference, tolerance."""
    refused: list[str]
    """Why each conversion that was tried and left was left, in plain words."""


@dataclass(frozen=True)
class _Proof:
    """Rows that a conversion must answer as the estimator does."""

    inputs: NDArray[np.float64]
    expected: NDArray[np.float64]
    counts: dict[str, int]

    @property
    def tolerance(self) -> float:
        return TOLERANCE * max(1.0, float(np.abs(self.expected).max()))


def predict_estimator(
    estimator: Any, kind: Kind, names: Sequence[str], inputs: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The estimator's own answers: inputs [N, F] as the frame it was trained on → [N]. Raises DataError."""
    import pandas as pd

    frame = pd.DataFrame(inputs, columns=list(names))
    answers = estimator.predict_proba(frame)[:, 1] if kind == "binary" else estimator.predict(frame)
    answers = np.asarray(answers, dtype=np.float64).reshape(len(inputs))
    if not np.all(np.isfinite(answers)):
        raise DataError(
            "the model's predictions hold NaN or infinity", fix="look at the features of such rows"
        )
    return answers


def check_estimator(estimator: Any, kind: Kind) -> None:
    """Raise PermanentError unless the estimator can answer for the kind of label."""
    name = type(estimator).__name__
    if kind == "binary":
        if not hasattr(estimator, "predict_proba"):
            raise PermanentError(
                f"{name} has no predict_proba", fix="train a classifier that gives probabilities"
            )
        classes = [float(value) for value in getattr(estimator, "classes_", [0, 1])]
        if classes != [0.0, 1.0]:
            raise PermanentError(
                f"{name} has learned the classes {classes}", fix="train on labels 0 and 1, both seen"
            )
    elif not hasattr(estimator, "predict") or hasattr(estimator, "predict_proba"):
        raise PermanentError(
            f"{name} is no regressor", fix="train a regressor for a label of kind regression"
        )


def convert(estimator: Any, kind: Kind, names: Sequence[str], inputs: NDArray[np.float64]) -> Converted:
    """Convert with proof on `inputs` [N, F], the evaluation set. Raises PermanentError, DataError."""
    proof, missing = _proof(estimator, kind, names, inputs)
    output = {"name": _OUTPUTS[kind], "kind": kind}
    refused = []
    for runtime, dtype in ((ONNX, "float32"), (ONNX, "float64"), (SKOPS, "float64")):
        attempt = {"runtime": runtime, "input": {"name": "features", "dtype": dtype}, "output": output}
        try:
            model = (
                _to_onnx(estimator, kind, len(names), dtype) if runtime == ONNX else skops_bytes(estimator)
            )
            difference = _difference(load_predictor(attempt, model, "conversion"), proof)
        except PermanentError as error:
            if runtime == SKOPS:
                raise
            refused.append(f"{runtime} {dtype}: {error.what}")
            continue
        if difference <= proof.tolerance:
            parity = {**proof.counts, "max_abs_difference": difference, "tolerance": proof.tolerance}
            shape = {"name": "features", "dtype": dtype, "missing": "allowed" if missing else "refused"}
            return Converted(runtime, model, shape, output, parity, refused)
        refused.append(
            f"{runtime} {dtype}: answers differ by {difference:.2g}, more than {proof.tolerance:.0e}, "
            f"from {type(estimator).__name__}'s"
        )
    raise PermanentError(
        f"no form of {type(estimator).__name__} answers as the trained model does: {'; '.join(refused)}",
        fix="refer to columns by position instead of by name: serving passes arrays",
    )


def _proof(
    estimator: Any, kind: Kind, names: Sequence[str], inputs: NDArray[np.float64]
) -> tuple[_Proof, bool]:
    """The rows and whether the estimator takes missing values."""
    shuffled = _shuffled(inputs)
    holes = _with_holes(inputs)
    try:
        rows = np.concatenate([inputs, shuffled, holes])
        expected = predict_estimator(estimator, kind, names, rows)
        missing = True
    except (ValueError, DataError) as error:
        if np.isnan(inputs).any():
            column = names[int(np.isnan(inputs).any(axis=0).argmax())]
            raise DataError(
                f"the model takes no missing values, and feature {column!r} has some: {_first_line(error)}",
                where="train",
                fix="begin the pipeline with an imputer, or use an estimator that takes NaN",
            ) from error
        rows, holes = np.concatenate([inputs, shuffled]), holes[:0]
        expected = predict_estimator(estimator, kind, names, rows)
        missing = False
    counts = {"rows": len(inputs), "missing_rows": len(holes), "shuffled_rows": len(shuffled)}
    return _Proof(rows, expected, counts), missing


def _with_holes(inputs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Copies of the first rows with each feature missing, and one row with all missing."""
    first = inputs[:_MISSING_ROWS]
    holes = [np.full((1, inputs.shape[1]), np.nan)]
    for column in range(inputs.shape[1]):
        copy = first.copy()
        copy[:, column] = np.nan
        holes.append(copy)
    return np.concatenate(holes)


def _shuffled(inputs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows whose features come from different rows: each column is turned by another offset (no chance in
    it).
    """
    count = min(len(inputs), _SHUFFLED_ROWS)
    columns = [
        np.roll(inputs[:, c], (c + 1) * 7919 % max(1, len(inputs)))[:count] for c in range(inputs.shape[1])
    ]
    return np.column_stack(columns)


def _difference(predict: Any, proof: _Proof) -> float:
    try:
        answers = predict(proof.inputs)
    except WindtunnelError:
        raise
    except Exception as error:  # a runtime refuses what it cannot run in its own words
        raise PermanentError(f"it does not run: {_first_line(error)}") from error
    if not np.all(np.isfinite(answers)):
        return float("inf")
    return float(np.abs(answers - proof.expected).max())


def _to_onnx(estimator: Any, kind: Kind, width: int, dtype: str) -> bytes:
    """ONNX with one input `features` [N, F] and one output: `probability` or `value`, [N]."""
    import onnx
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType

    types = {"float32": FloatTensorType, "float64": DoubleTensorType}
    options = {id(estimator): {"zipmap": False}} if kind == "binary" else None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            converted = to_onnx(
                estimator,
                name="model",
                initial_types=[("features", types[dtype]([None, width]))],
                options=options,
            )
        _keep_one_output(converted.graph, kind, onnx)
        onnx.checker.check_model(converted)
    except Exception as error:  # converters raise whatever the estimator's attributes lead to
        raise PermanentError(f"{type(estimator).__name__} does not convert: {_first_line(error)}") from error
    return bytes(converted.SerializeToString(deterministic=True))


def _keep_one_output(graph: Any, kind: Kind, onnx: Any) -> None:
    """Serving wants one number a row; what leads only to the label is then never computed."""
    source = graph.output[-1]
    name, element = _OUTPUTS[kind], source.type.tensor_type.elem_type
    constant, operation = (1, "Gather") if kind == "binary" else (-1, "Reshape")
    shape = [] if kind == "binary" else [1]
    graph.initializer.append(onnx.helper.make_tensor("one_output", onnx.TensorProto.INT64, shape, [constant]))
    attributes = {"axis": 1} if kind == "binary" else {}
    graph.node.append(onnx.helper.make_node(operation, [source.name, "one_output"], [name], **attributes))
    del graph.output[:]
    graph.output.append(onnx.helper.make_tensor_value_info(name, element, [None]))


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0][:300]

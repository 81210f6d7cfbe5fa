"""Run a bundle's model: ONNX by onnxruntime, or skops where ONNX could not give the same answers."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
import onnxruntime

from windtunnel.errors import IntegrityError, PermanentError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

ONNX: Final = "onnx"
SKOPS: Final = "skops"
MODEL_FILES: Final = {ONNX: "model.onnx", SKOPS: "model.skops"}

TRUSTED_TYPES: Final = (
    "functools.partial",
    "numpy.dtype",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.tree._tree.Tree",
    "sklearn.utils.validation.check_array",
)
"""What a skops file may hold beyond the types that skops itself trusts; each was read before it came here."""


class Predictor(Protocol):
    """inputs [N, F] float64, NaN = missing → probabilities or values [N] float64."""

    def __call__(self, inputs: NDArray[np.float64]) -> NDArray[np.float64]: ...


def load_predictor(manifest: Mapping[str, Any], model: bytes, where: str) -> Predictor:
    """The predictor of a bundle. Raises IntegrityError when the bytes are no such model."""
    if manifest["runtime"] == ONNX:
        return OnnxPredictor(model, str(manifest["input"]["dtype"]), where)
    if manifest["runtime"] == SKOPS:
        return SkopsPredictor(model, str(manifest["output"]["name"]), where)
    raise PermanentError(
        f"runtime {manifest['runtime']!r} is unknown",
        where=where,
        fix="use a newer serving image, or train again",
    )


class OnnxPredictor:
    """One session with one thread: a serving process answers one request at a time, faster than it could
    share.
    """

    def __init__(self, model: bytes, dtype: str, where: str) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._dtype = np.dtype(dtype)
        try:
            self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors have no common base but RuntimeError and ValueError
            raise IntegrityError(f"onnxruntime cannot load the model: {error}", where=where) from error
        self._input = self._session.get_inputs()[0].name
        self._outputs = [self._session.get_outputs()[0].name]

    def __call__(self, inputs: NDArray[np.float64]) -> NDArray[np.float64]:
        (answer,) = self._session.run(self._outputs, {self._input: inputs.astype(self._dtype, copy=False)})
        return np.asarray(answer, dtype=np.float64).reshape(len(inputs))


class SkopsPredictor:
    """A scikit-learn estimator. Unlike pickle, skops builds only types on its and our list."""

    def __init__(self, model: bytes, output: str, where: str) -> None:
        try:
            import skops.io
        except ImportError as error:
            raise PermanentError(
                "this bundle's runtime is skops, which is not installed here",
                where=where,
                fix="install the extra serving-sklearn, or train a model that converts to ONNX",
            ) from error
        try:
            self._estimator = skops.io.loads(model, trusted=list(TRUSTED_TYPES))
        except Exception as error:  # a broken or untrusted file raises whatever its bytes lead to
            raise IntegrityError(f"skops cannot load the model: {error}", where=where) from error
        self._probability = output == "probability"
        # Estimators fitted on named columns say so for every array; conversion has proved that arrays do.
        warnings.filterwarnings("ignore", message="X does not have valid feature names")

    def __call__(self, inputs: NDArray[np.float64]) -> NDArray[np.float64]:
        answer = (
            self._estimator.predict_proba(inputs)[:, 1]
            if self._probability
            else self._estimator.predict(inputs)
        )
        return np.asarray(answer, dtype=np.float64).reshape(len(inputs))

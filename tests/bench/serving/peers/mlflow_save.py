"""Save the ONNX model as MLflow's onnx flavour with a signature, for `mlflow models serve`."""

from __future__ import annotations

import sys

import mlflow.onnx
import numpy as np
import onnx
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec

model = onnx.load(sys.argv[1])
width = model.graph.input[0].type.tensor_type.shape.dim[1].dim_value
mlflow.onnx.save_model(
    model,
    sys.argv[2],
    signature=ModelSignature(
        inputs=Schema([TensorSpec(np.dtype(np.float32), (-1, width), "features")]),
        outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, 1), "probability")]),
    ),
    onnx_session_options={"intra_op_num_threads": 1, "inter_op_num_threads": 1},
    pip_requirements=["mlflow", "onnx", "onnxruntime"],
)

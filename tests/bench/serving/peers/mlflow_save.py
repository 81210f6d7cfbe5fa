"""Save a model for `mlflow models serve`, with a signature: an ONNX file as MLflow's onnx flavour, a pickled
estimator as its sklearn flavour. Arguments: the file, the directory."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import mlflow.onnx
import mlflow.sklearn
import numpy as np
import onnx
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, Schema, TensorSpec

file, directory = Path(sys.argv[1]), sys.argv[2]
if file.suffix == ".onnx":
    model = onnx.load(file)
    width = model.graph.input[0].type.tensor_type.shape.dim[1].dim_value
    mlflow.onnx.save_model(
        model,
        directory,
        signature=ModelSignature(
            inputs=Schema([TensorSpec(np.dtype(np.float32), (-1, width), "features")]),
            outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, 1), "probability")]),
        ),
        onnx_session_options={"intra_op_num_threads": 1, "inter_op_num_threads": 1},
        pip_requirements=["mlflow", "onnx", "onnxruntime"],
    )
else:
    estimator = pickle.loads(file.read_bytes())
    mlflow.sklearn.save_model(
        estimator,
        directory,
        signature=ModelSignature(
            inputs=Schema([ColSpec("double", name) for name in estimator.feature_names_in_]),
            outputs=Schema([TensorSpec(np.dtype(np.float64), (-1, 2))]),
        ),
        serialization_format="cloudpickle",
        pyfunc_predict_fn="predict_proba",
        pip_requirements=["mlflow", "scikit-learn"],
    )

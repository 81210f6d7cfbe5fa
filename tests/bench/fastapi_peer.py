"""What one writes in an afternoon instead of Windtunnel's serving: FastAPI and onnxruntime, by the book."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnxruntime
from fastapi import FastAPI
from pydantic import BaseModel

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(Path(os.environ["MODEL"]).read_bytes(), options)
dtype = {"tensor(float)": np.float32, "tensor(double)": np.float64}[session.get_inputs()[0].type]
app = FastAPI()


class Rows(BaseModel):
    features: list[list[float]]


@app.post("/infer")
async def infer(rows: Rows) -> dict[str, list[float]]:
    (answers,) = session.run(
        [session.get_outputs()[0].name], {"features": np.array(rows.features, dtype=dtype)}
    )
    return {"probability": answers.reshape(-1).tolist()}

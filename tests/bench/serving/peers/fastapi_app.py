"""What one writes in an afternoon instead of Windtunnel's serving: FastAPI and onnxruntime, by the book.

`/v2/models/{name}/infer` takes the same body as Windtunnel, `/predict` the smallest that does.
Run by uvicorn with uvloop and httptools, one worker, no access log, as FastAPI's deployment guide has it.
"""

from __future__ import annotations

import os

import numpy as np
import onnxruntime
from fastapi import FastAPI
from pydantic import BaseModel

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(os.environ["MODEL"], options, providers=["CPUExecutionProvider"])
app = FastAPI()


class Tensor(BaseModel):
    name: str
    shape: list[int]
    datatype: str
    data: list[float]


class InferRequest(BaseModel):
    inputs: list[Tensor]
    id: str | None = None


class InferResponse(BaseModel):
    model_name: str
    id: str | None = None
    outputs: list[Tensor]


class Rows(BaseModel):
    features: list[list[float]]


def predict(rows: np.ndarray) -> list[float]:
    (answers,) = session.run(["probability"], {"features": rows})
    return answers.reshape(-1).tolist()


@app.post("/v2/models/{name}/infer")
async def infer(name: str, request: InferRequest) -> InferResponse:
    tensor = request.inputs[0]
    answers = predict(np.array(tensor.data, dtype=np.float32).reshape(tensor.shape))
    output = Tensor(name="probability", shape=[len(answers)], datatype="FP64", data=answers)
    return InferResponse(model_name=name, id=request.id, outputs=[output])


@app.post("/predict")
async def smallest(rows: Rows) -> dict[str, list[float]]:
    return {"probability": predict(np.array(rows.features, dtype=np.float32))}

"""The KServe SDK's server with a Model subclass, as its guide to custom predictors has it; one worker, REST
only, without the log line for each request."""

from __future__ import annotations

import os
import sys

import numpy as np
import onnxruntime
from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer
from kserve.utils.utils import generate_uuid


class OnnxModel(Model):
    def load(self) -> bool:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        path = os.environ["MODEL"]
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.ready = True
        return self.ready

    def predict(
        self, payload: InferRequest, headers: dict[str, str] | None = None, response_headers: object = None
    ) -> InferResponse:
        rows = payload.inputs[0].as_numpy().astype(np.float32)
        (answers,) = self.session.run(["probability"], {"features": rows})
        output = InferOutput(name="probability", shape=[len(answers)], datatype="FP64")
        output.set_data_from_numpy(answers.reshape(-1).astype(np.float64), binary_data=False)
        return InferResponse(generate_uuid(), self.name, [output])


if __name__ == "__main__":
    model = OnnxModel("flight_delay")
    model.load()
    server = ModelServer(
        http_port=int(sys.argv[1]), workers=1, enable_grpc=False, enable_latency_logging=False
    )
    server.start([model])

"""Run in the clients' environment: does with tritonclient what standard input says, in JSON, and prints what
came back.

    {"url": "127.0.0.1:8080", "calls": [{"inputs": [{"name", "datatype", "values", "binary"}, …],
     "outputs": [{"name", "binary"}, …], "more": {arguments of infer}}, …]}
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
from tritonclient import http
from tritonclient.utils import InferenceServerException, triton_to_np_dtype

MODEL = "flight_delay"


def infer(client: http.InferenceServerClient, call: dict[str, Any]) -> dict[str, Any]:
    inputs = [_input(item) for item in call["inputs"]]
    outputs = [
        http.InferRequestedOutput(item["name"], binary_data=item["binary"]) for item in call["outputs"]
    ]
    try:
        result = client.infer(MODEL, inputs, outputs=outputs or None, **call["more"])
    except InferenceServerException as error:
        return {"status": error.status(), "error": error.message()}
    response = result.get_response()
    arrays = {item["name"]: result.as_numpy(item["name"]) for item in response["outputs"]}
    return {
        "response": response,
        "arrays": {name: [str(array.dtype), array.tolist()] for name, array in arrays.items()},
    }


def _input(item: dict[str, Any]) -> http.InferInput:
    values = np.array(item["values"], dtype=triton_to_np_dtype(item["datatype"]))
    tensor = http.InferInput(item["name"], list(values.shape), item["datatype"])
    tensor.set_data_from_numpy(values, binary_data=item["binary"])
    return tensor


def about(client: http.InferenceServerClient) -> dict[str, Any]:
    """What the server says of itself and its model."""
    return {
        "live": client.is_server_live(),
        "ready": client.is_server_ready(),
        "model_ready": client.is_model_ready(MODEL),
        "version_ready": client.is_model_ready(MODEL, "1"),
        "other_version_ready": client.is_model_ready(MODEL, "7"),
        "server": client.get_server_metadata(),
        "model": client.get_model_metadata(MODEL),
        "version": client.get_model_metadata(MODEL, "1"),
    }


def in_parallel(client: http.InferenceServerClient, call: dict[str, Any], times: int) -> list[Any]:
    """Answers to the same call, asked at once."""
    inputs = [_input(item) for item in call["inputs"]]
    asked = [client.async_infer(MODEL, inputs) for _ in range(times)]
    return [one.get_result().as_numpy("probability").tolist() for one in asked]


def main() -> None:
    wanted = json.load(sys.stdin)
    with http.InferenceServerClient(wanted["url"], concurrency=8) as client:
        answers = [infer(client, call) for call in wanted["calls"]]
        parallel = in_parallel(client, wanted["calls"][0], 50)
        json.dump({"about": about(client), "answers": answers, "parallel": parallel}, sys.stdout)


if __name__ == "__main__":
    main()

"""Run in the clients' environment: does with the KServe SDK's REST client what standard input says, in JSON,
and prints what came back. The input is that of `triton_calls`."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import httpx
import numpy as np
from kserve import InferInput, InferRequest
from kserve.inference_client import InferenceRESTClient, RESTConfig
from kserve.protocol.infer_type import RequestedOutput
from kserve.utils.numpy_codec import to_np_dtype

MODEL = "flight_delay"


async def infer(client: InferenceRESTClient, url: str, call: dict[str, Any]) -> dict[str, Any]:
    outputs = [RequestedOutput(item["name"], {"binary_data": item["binary"]}) for item in call["outputs"]]
    request = InferRequest(
        MODEL,
        [_input(item) for item in call["inputs"]],
        request_id=call["more"].get("request_id"),
        parameters=call["more"].get("parameters"),
        request_outputs=outputs or None,
    )
    try:
        answer = await client.infer(url, request, model_name=MODEL)
    except httpx.HTTPStatusError as error:
        return {"status": str(error.response.status_code), "error": str(error)}
    arrays = {output.name: output.as_numpy() for output in answer.outputs}
    return {
        "response": {"id": answer.id, "parameters": answer.parameters},
        "arrays": {name: [str(array.dtype), array.tolist()] for name, array in arrays.items()},
    }


def _input(item: dict[str, Any]) -> InferInput:
    values = np.array(item["values"], dtype=to_np_dtype(item["datatype"]))
    tensor = InferInput(item["name"], list(values.shape), item["datatype"])
    tensor.set_data_from_numpy(values, binary_data=item["binary"])
    return tensor


async def main() -> None:
    wanted = json.load(sys.stdin)
    url = f"http://{wanted['url']}"
    async with InferenceRESTClient(RESTConfig(protocol="v2")) as client:
        answers = [await infer(client, url, call) for call in wanted["calls"]]
        about = {
            "live": await client.is_server_live(url),
            "ready": await client.is_server_ready(url),
            "model_ready": await client.is_model_ready(url, MODEL),
            "other_model_ready": await client.is_model_ready(url, "nobody"),
        }
    json.dump({"about": about, "answers": answers}, sys.stdout)


if __name__ == "__main__":
    asyncio.run(main())

"""Requests and answers of the Open Inference Protocol's binary-data extension, made and read by hand."""

from __future__ import annotations

import http.client
import json
import struct
from typing import Any, NamedTuple

import numpy as np
from waiting import HANG

HEADER = "Inference-Header-Content-Length"
DTYPES = {
    "FP64": "<f8",
    "FP32": "<f4",
    "FP16": "<f2",
    "INT64": "<i8",
    "INT32": "<i4",
    "INT16": "<i2",
    "INT8": "<i1",
    "UINT64": "<u8",
    "UINT32": "<u4",
    "UINT16": "<u2",
    "UINT8": "<u1",
    "BOOL": "?",
}


Input = tuple[dict[str, Any], bytes]
"""As the JSON describes it, and its bytes; none where the description has data."""


class BinaryRequest(NamedTuple):
    """A body, and how much of it is JSON."""

    body: bytes
    json_length: int


class Said(NamedTuple):
    """An answer; `json_length` where the header says that raw tensors follow."""

    status: int
    json: Any
    raw: bytes
    json_length: int | None


def raw(
    name: str, datatype: str, values: Any, shape: list[int] | None = None
) -> tuple[dict[str, Any], bytes]:
    """An input, and its bytes; values are numbers, or texts for BYTES."""
    if datatype == "BYTES":
        texts = [value if isinstance(value, bytes) else value.encode() for value in values]
        data = b"".join(struct.pack("<I", len(text)) + text for text in texts)
    else:
        data = np.array(values, DTYPES[datatype]).tobytes()
    described = {
        "name": name,
        "datatype": datatype,
        "shape": shape or [len(values)],
        "parameters": {"binary_data_size": len(data)},
    }
    return described, data


def binary_request(*inputs: Input, **more: Any) -> BinaryRequest:
    """A request of these inputs; `more` is what the JSON has beside them."""
    head = json.dumps({"inputs": [described for described, _ in inputs], **more}).encode()
    return BinaryRequest(head + b"".join(data for _, data in inputs), len(head))


def send(port: int, body: bytes, json_length: int | str | None, model: str = "flight_delay") -> Said:
    """POST it to the model."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=HANG)
    headers = {} if json_length is None else {HEADER: str(json_length)}
    connection.request("POST", f"/v2/models/{model}/infer", body, headers)
    with connection.getresponse() as response:
        said = response.read()
        length = response.headers[HEADER]
    connection.close()
    if length is None:
        return Said(response.status, json.loads(said), b"", None)
    assert response.headers["content-type"] == "application/octet-stream"
    return Said(response.status, json.loads(said[: int(length)]), said[int(length) :], int(length))

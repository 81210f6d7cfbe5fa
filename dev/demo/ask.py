"""Ask the served model, as a client would: by entity key and by feature vector."""

from __future__ import annotations

import io
import json
import math
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import polars as pl

from .console import DemoError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from .thread import Platform

UNKNOWN = "nowhere"


@dataclass(frozen=True)
class Answer:
    """One prediction, and what was asked."""

    title: str
    question: str
    value: float
    version: str
    prediction_id: str
    missing_features: int
    milliseconds: float


@contextmanager
def model_client(platform: Platform, lifecycle: str) -> Iterator[httpx.Client]:
    """An HTTP client to the lifecycle's serving Service."""
    service = f"svc/{lifecycle.replace('_', '-')}"
    with (
        platform.kubectl.port_forward(platform.namespace, service, 80) as port,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client,
    ):
        yield client


def ask(platform: Platform, lifecycle: str, moment: datetime, *, unknown: bool = False) -> list[Answer]:
    """Two answers: by entity key, then by vector.

    moment: when the question is asked; features past their ttl are missing then, and these data are old.
    unknown: ask for text keys that no feature row has.
    """
    with model_client(platform, lifecycle) as client:
        by_key = key_request(platform, lifecycle, client, moment, unknown=unknown)
        by_vector = vector_request(platform, lifecycle, client)
        return [
            _ask(client, lifecycle, "By entity key", by_key),
            _ask(client, lifecycle, "By feature vector", by_vector),
        ]


def key_request(
    platform: Platform, lifecycle: str, client: httpx.Client, moment: datetime, *, unknown: bool = False
) -> dict[str, Any]:
    """The join keys and request-time features of one known row; the rest is read from the online store."""
    (row,) = example_rows(platform, lifecycle, 1)
    inputs = []
    for tensor in _metadata(client, lifecycle)["inputs"]:
        told = tensor.get("parameters", {})
        if told.get("join_key") or told.get("source") == "request":
            value = UNKNOWN if unknown and tensor["datatype"] == "BYTES" else row[tensor["name"]]
            inputs.append(_tensor(tensor, value))
    return {"parameters": {"event_timestamp": moment.isoformat()}, "inputs": inputs}


def vector_request(platform: Platform, lifecycle: str, client: httpx.Client) -> dict[str, Any]:
    """Every feature of one known row, one tensor per feature."""
    (request,) = vector_requests(platform, lifecycle, client, 1)
    return request


def vector_requests(
    platform: Platform, lifecycle: str, client: httpx.Client, count: int
) -> list[dict[str, Any]]:
    """So many requests of one known row each."""
    features = [
        tensor
        for tensor in _metadata(client, lifecycle)["inputs"]
        if "source" in tensor.get("parameters", {})
    ]
    rows = example_rows(platform, lifecycle, count)
    return [{"inputs": [_tensor(tensor, row[tensor["name"]]) for tensor in features]} for row in rows]


def example_rows(platform: Platform, lifecycle: str, count: int) -> list[dict[str, Any]]:
    """The last rows of the evaluation set of the snapshot that the champion was trained from."""
    served = platform.kubectl.json(
        "get", "servedmodel", lifecycle.replace("_", "-"), "-n", platform.namespace
    )
    store = platform.store
    manifest = json.loads(
        store.get(store.key(served["spec"]["champion"]["bundle"]).rstrip("/") + "/manifest.json")
    )
    snapshot = manifest["snapshot"].removeprefix("sha256:")
    data = store.get(f"{lifecycle}/snapshots/{snapshot}/evaluation.parquet")
    return pl.read_parquet(io.BytesIO(data)).tail(count).to_dicts()


def _metadata(client: httpx.Client, lifecycle: str) -> Any:
    answer = client.get(f"/v2/models/{lifecycle}")
    if answer.status_code != 200:
        raise DemoError(f"the model does not say what it takes: {answer.status_code} {answer.text[:300]}")
    return answer.json()


def _tensor(told: dict[str, Any], value: Any) -> dict[str, Any]:
    missing = isinstance(value, float) and math.isnan(value)
    return {
        "name": told["name"],
        "datatype": told["datatype"],
        "shape": [1],
        "data": [None if missing else value],
    }


def _ask(client: httpx.Client, lifecycle: str, title: str, request: dict[str, Any]) -> Answer:
    begun = time.perf_counter()
    answer = client.post(f"/v2/models/{lifecycle}/infer", json=request)
    milliseconds = (time.perf_counter() - begun) * 1000
    if answer.status_code != 200:
        raise DemoError(f"{title}: {answer.status_code} {answer.text[:300]}")
    found = answer.json()
    return Answer(
        title,
        "  ".join(f"{tensor['name']}={_short(tensor['data'][0])}" for tensor in request["inputs"]),
        found["outputs"][0]["data"][0],
        found["model_version"],
        found["parameters"]["prediction_id"],
        found["parameters"]["missing_features"],
        milliseconds,
    )


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)

"""Reads what a server sends back, byte by byte, and judges it."""

from __future__ import annotations

import asyncio
import json
import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from binary_request import DTYPES
from served_bundle import FEATURES, answers

if TYPE_CHECKING:
    from hostile_bodies import Request

REFUSALS = frozenset({400, 404, 405, 408, 411, 413, 414, 415, 417, 431})
"""What a hostile request may be answered with, beside 200."""
_LONGEST_ERROR = 4000
_EXACT = 1e4
"""Up to this size of inputs the model's single precision gives what double precision gives."""


class Wrong(Exception):
    """The server did what it must not."""


class _Untold(Exception):
    """What the answer should be cannot be told."""


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


async def read_answer(reader: asyncio.StreamReader, method: str = "POST") -> Answer | None:
    """One answer, 1xx left out; None when the server hangs up before it. Raises Wrong for what is none."""
    while True:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as error:
            if error.partial:
                raise Wrong(f"an answer is cut off: {error.partial[:200]!r}") from error
            return None
        except ConnectionError:
            return None
        line, *fields = head[:-4].decode("latin-1").split("\r\n")
        version, status, *_ = line.split(" ", 2)
        if version not in {"HTTP/1.1", "HTTP/1.0"} or not (len(status) == 3 and status.isdecimal()):
            raise Wrong(f"no status line: {line[:200]!r}")
        if status.startswith("1"):
            continue
        headers = {
            name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)
        }
        size = int(headers.get("content-length", "0"))
        try:
            body = b"" if method == "HEAD" else await reader.readexactly(size)
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise Wrong(f"a body is cut off: {headers}") from error
        return Answer(int(status), headers, body)


def judge(request: Request, answer: Answer) -> None:
    """Raises Wrong for an answer that this request must not get."""
    if answer.status == 200:
        if request.method == "POST" and request.target.partition("?")[0].endswith("/infer"):
            _judge_predictions(request, answer)
        return
    judge_refusal(answer)
    if request.method != "HEAD":
        error = json.loads(answer.body).get("error")
        if not (
            isinstance(error, str) and error and "Traceback" not in error and len(error) < _LONGEST_ERROR
        ):
            raise Wrong(f"no error to act on: {answer.body[:200]!r}")


def judge_refusal(answer: Answer) -> None:
    """Raises Wrong for a status that says the server is to blame."""
    if answer.status != 200 and answer.status not in REFUSALS:
        raise Wrong(f"status {answer.status}: {answer.body[:300]!r}")


def _judge_predictions(request: Request, answer: Answer) -> None:
    length = int(answer.headers.get("inference-header-content-length", len(answer.body)))
    said = json.loads(answer.body[:length], parse_constant=_no_constant)
    (output,) = said["outputs"]
    if "data" in output:
        values = output["data"]
        if length != len(answer.body):
            raise Wrong("bytes behind an answer in JSON")
    else:
        raw = answer.body[length:]
        if output["parameters"]["binary_data_size"] != len(raw):
            raise Wrong("binary_data_size is not that of the data")
        values = np.frombuffer(raw, "<f8").tolist()
    if output["shape"] != [len(values)] or not all(map(math.isfinite, values)):
        raise Wrong(f"shape {output['shape']} of {values[:5]}")
    try:
        expected = _expected(request)
    except _Untold:
        return
    if len(expected) != len(values) or not np.allclose(values, expected, atol=1e-4):
        raise Wrong(f"answered {values[:5]}, and it should be {expected[:5].tolist()}")


def _expected(request: Request) -> np.ndarray[Any, np.dtype[np.float64]]:
    """What the model says to a request that was taken, read by other means than the server's."""
    length = dict(request.headers).get("Inference-Header-Content-Length")
    head = request.body if length is None else request.body[: int(length)]
    asked = json.loads(head, parse_constant=_no_constant, parse_int=_whole)
    rest = request.body[len(head) :]
    columns: dict[str, Any] = {}
    for item in asked["inputs"]:
        size = (item.get("parameters") or {}).get("binary_data_size")
        if size is None:
            values = np.array(item["data"], dtype=object).ravel()
        elif item["datatype"] == "BYTES":
            values, rest = np.zeros(item["shape"][0]), rest[size:]
        else:
            values, rest = np.frombuffer(rest[:size], DTYPES[item["datatype"]]), rest[size:]
        columns[item["name"]] = values
    if "features" in columns:
        matrix = columns["features"].reshape(-1, len(FEATURES))
    else:
        rows = len(next(iter(columns.values())))
        matrix = np.array([columns.get(name, [0] * rows) for name in FEATURES], dtype=object).T
    numbers = np.array([[math.nan if value is None else float(value) for value in row] for row in matrix])
    if np.nanmax(np.abs(numbers), initial=0) > _EXACT:
        raise _Untold
    with np.errstate(over="ignore"):
        return answers(numbers, 1.0)


def _whole(digits: str) -> float:
    """Beyond Python's own limit there is only what has no effect."""
    return int(digits) if len(digits) < 4000 else math.inf


def _no_constant(name: str) -> float:
    raise Wrong(f"{name} was taken for JSON, or sent as such")

"""The queue of copies: bounded in number and bytes, emptied in windows."""

from __future__ import annotations

import asyncio
import gc
import json
from typing import Any

import numpy as np
from binary_request import binary_request
from binary_request import raw as raw_input

from windtunnel.serving.inputs import Batch
from windtunnel.serving.protocol import MAX_BODY, BinaryTensor, InferRequest, parse
from windtunnel.serving.question import Question
from windtunnel.serving.rows import Rows
from windtunnel.serving.shadow import QUEUED, Copy, ShadowCopies


def copy_of(rows: int) -> Copy:
    matrix = np.zeros((rows, 5))
    question = Question(InferRequest(inputs=[]), Batch(matrix), "an-id", None, 0.0)
    return Copy(question, Rows(matrix, 0, 0, None))


def windows(sizes: list[int], one_by_one: bool) -> tuple[list[int], int]:
    """(rows of each window, copies dropped) when all copies come at once."""
    seen: list[list[int]] = []
    dropped = 0

    async def score(copies: list[Copy]) -> None:
        seen.append([len(copy.rows.matrix) for copy in copies])
        await asyncio.sleep(0)

    def drop() -> None:
        nonlocal dropped
        dropped += 1

    async def run() -> None:
        copies = ShadowCopies(score, drop, one_by_one)
        for rows in sizes:
            copies.offer(copy_of(rows))
        scoring = asyncio.create_task(copies.run())
        await asyncio.sleep(0.05)
        scoring.cancel()

    asyncio.run(run())
    assert [rows for window in seen for rows in window] == sizes[: len(sizes) - dropped] or dropped
    assert all(seen)
    return [sum(window) for window in seen], dropped


def test_small_ones_go_together_and_large_ones_alone() -> None:
    rows, dropped = windows([1] * 40 + [200, 100, 5000, 1], one_by_one=False)
    assert rows == [16, 16, 208, 100, 5000, 1]
    assert dropped == 0


def test_beside_routed_requests_they_go_one_by_one() -> None:
    assert windows([1] * 10, one_by_one=True) == ([1] * 10, 0)


def test_what_is_too_many_is_dropped() -> None:
    rows, dropped = windows([1] * (QUEUED + 7), one_by_one=False)
    assert (sum(rows), dropped) == (QUEUED, 7)


def test_what_is_too_large_is_dropped() -> None:
    rows, dropped = windows([100_000] * 6, one_by_one=False)
    # of 4 MB each, four fit in 16 MiB
    assert (rows, dropped) == ([100_000] * 4, 2)


def test_what_waits_is_bounded_in_all_that_it_keeps() -> None:
    """A short request in a long body, and one whose long texts are few rows."""
    padded = parse(json.dumps({"inputs": [described("carrier", ["UA"])]}).encode().ljust(MAX_BODY))
    texts = parse(json.dumps({"inputs": [described("carrier", ["x" * 1000] * 4000)]}).encode())
    assert size_of(padded, ["UA"]) < 1000
    assert size_of(texts, ["x" * 1000] * 4000) > 8_000_000
    (tensor,) = padded.apart(inputs=True).inputs
    assert bytes(memoryview(tensor.data)) == b'["UA"]'
    assert gc.get_referents(tensor.data) == []
    (raw,) = parse(*binary_request(raw_input("carrier", "BYTES", ["UA"]))).apart(inputs=True).inputs
    assert isinstance(raw, BinaryTensor)
    assert (len(raw.raw.obj), raw.nbytes) == (6, 6)
    assert padded.apart(inputs=False).inputs == []


def described(name: str, texts: list[str]) -> dict[str, Any]:
    return {"name": name, "datatype": "BYTES", "shape": [len(texts)], "data": texts}


def size_of(request: InferRequest, texts: list[str]) -> int:
    matrix = np.zeros((len(texts), 2))
    kept = request.apart(inputs=True)
    question = Question(kept, Batch(matrix, {"carrier": texts}), "an-id", None, 0.0)
    return Copy(question, Rows(matrix, 0, 0, None)).nbytes

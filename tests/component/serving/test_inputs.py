"""What a hostile request may not do: keep the event loop busy, or get its own megabytes sent back."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from windtunnel.errors import RequestError
from windtunnel.serving import protocol
from windtunnel.serving.inputs import InputPlan

PLAN = InputPlan(
    {f"feature_number_{n}": "request" if n % 2 else "view:feature" for n in range(20)}, {"origin": "STRING"}
)


def refusal(*inputs: dict[str, Any]) -> str:
    body = json.dumps({"inputs": inputs}).encode()
    assert len(body) <= protocol.MAX_BODY
    with pytest.raises(RequestError) as error:
        PLAN.read(protocol.parse(body))
    return str(error.value)


def tensor(name: str, shape: list[int]) -> dict[str, Any]:
    return {"name": name, "shape": shape, "datatype": "FP64", "data": [1]}


def test_a_body_full_of_unknown_names_is_refused_as_fast_as_it_is_read() -> None:
    inputs = [tensor(f"feature_numer_{n}", [1]) for n in range(45_000)]
    began = time.perf_counter()
    said = refusal(*inputs)
    assert time.perf_counter() - began < 30  # it took minutes once
    assert "is it feature_number_0?" in said
    assert said.count("unknown") == 10


@pytest.mark.parametrize(
    "asked",
    [
        tensor("features", [1] * 1_000_000),
        tensor("features", [10**4000, 20]),
        tensor("origin", [1] * 1_000_000),
        tensor("x" * 4_000_000, [1]),
    ],
    ids=["dimensions", "rows", "column", "name"],
)
def test_an_error_does_not_repeat_what_is_too_long(asked: dict[str, Any]) -> None:
    assert len(refusal(asked)) < 2000

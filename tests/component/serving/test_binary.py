"""The protocol's binary-data extension, from a real process."""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from binary_request import DTYPES, BinaryRequest, Input, binary_request, raw, send
from served_bundle import FEATURES, answers, matrix_request, tensor

if TYPE_CHECKING:
    from serving_process import ServingProcess

ROW = [0.5, 2.0, 0.25, 4.0, 0.5]
OUTPUT = [{"name": "probability", "parameters": {"binary_data": True}}]


def matrix(
    values: Any = ROW, datatype: str = "FP64", shape: list[int] | None = None
) -> tuple[dict[str, Any], bytes]:
    return raw("features", datatype, values, shape or [1, 5])


@pytest.mark.parametrize("datatype", DTYPES)
def test_answers_raw_numbers_of_every_datatype(server: ServingProcess, datatype: str) -> None:
    rows = [[0, 1, 0, 1, 1], [1, 1, 1, 0, 0]]
    said = send(server.port, *binary_request(matrix(rows, datatype, [2, 5])))
    assert (said.status, said.json_length) == (200, None)
    assert said.json["outputs"][0]["data"] == pytest.approx(answers(rows, 1.0), abs=1e-6)


def test_answers_raw_columns_beside_columns_in_json(server: ServingProcess) -> None:
    inputs = [raw(name, "FP32", [value]) for name, value in zip(FEATURES, ROW, strict=True)]
    inputs[2] = (tensor("route_delay", "FP64", [None]), b"")
    inputs[3] = raw("hour", "INT32", [4], [1, 1])
    said = send(server.port, *binary_request(*reversed(inputs), id="mine"))
    assert (said.status, said.json["id"]) == (200, "mine")
    assert said.json["parameters"]["missing_features"] == 1
    assert said.json["outputs"][0]["data"] == pytest.approx(answers([[0.5, 2, 0, 4, 0.5]], 1.0), abs=1e-6)


@pytest.mark.parametrize(
    "wish",
    [
        {"parameters": {"binary_data_output": True}},
        {"outputs": OUTPUT},
        {"outputs": OUTPUT, "parameters": {"binary_data_output": False}},
        {"outputs": [{"name": "probability"}], "parameters": {"binary_data_output": True}},
    ],
)
@pytest.mark.parametrize("asked_in", ["JSON", "binary"])
def test_answers_raw_where_it_is_asked_to(
    server: ServingProcess, wish: dict[str, Any], asked_in: str
) -> None:
    if asked_in == "binary":
        said = send(server.port, *binary_request(matrix(ROW * 3, shape=[3, 5]), **wish))
    else:
        said = send(server.port, json.dumps({**matrix_request(ROW, ROW, ROW), **wish}).encode(), None)
    assert said.status == 200
    (output,) = said.json["outputs"]
    assert output == {
        "name": "probability",
        "datatype": "FP64",
        "shape": [3],
        "parameters": {"binary_data_size": 24},
    }
    assert np.frombuffer(said.raw, "<f8") == pytest.approx(answers([ROW] * 3, 1.0), abs=1e-6)
    assert said.json["parameters"]["role"] == "champion"


@pytest.mark.parametrize(
    "wish",
    [
        {},
        {"outputs": []},
        {"outputs": [{"name": "probability"}]},
        {
            "outputs": [{"name": "probability", "parameters": {"binary_data": False}}],
            "parameters": {"binary_data_output": True},
        },
    ],
)
def test_answers_json_where_it_is_not(server: ServingProcess, wish: dict[str, Any]) -> None:
    said = send(server.port, *binary_request(matrix(), **wish))
    assert (said.status, said.json_length) == (200, None)
    assert len(said.json["outputs"][0]["data"]) == 1


def test_errors_are_json_whatever_was_asked_for(server: ServingProcess) -> None:
    said = send(server.port, *binary_request(matrix(shape=[2, 5]), outputs=OUTPUT))
    assert (said.status, said.json_length, set(said.json)) == (400, None, {"error"})


def test_nan_stands_for_a_missing_number_where_the_caller_says_so(server: ServingProcess) -> None:
    values = [float("nan"), 2.0, 0.25, 4.0, 0.5]
    refused = send(server.port, *binary_request(matrix(values)))
    assert refused.status == 400
    assert "nan_is_missing" in refused.json["error"]
    said = send(server.port, *binary_request(matrix(values), parameters={"nan_is_missing": True}))
    assert said.json["parameters"]["missing_features"] == 1
    assert said.json["outputs"][0]["data"] == pytest.approx(answers([[0, *ROW[1:]]], 1.0), abs=1e-6)


def test_raw_texts_are_join_keys(server: ServingProcess) -> None:
    """The online store is away; that it is asked shows that the keys were read."""
    keys = [raw("carrier", "BYTES", ["UA", "Zürich"]), raw("route_id", "INT32", [1, 2])]
    said = send(
        server.port, *binary_request(*keys, raw("hour", "FP32", [1, 2]), raw("distance", "FP32", [1, 2]))
    )
    assert said.status == 503
    assert "the online store did not answer" in said.json["error"]


def by_entity(carrier: bytes, datatype: str = "INT64", route: float = 1) -> BinaryRequest:
    """One row whose carrier is these bytes."""
    size = {"binary_data_size": len(carrier)}
    key = {"name": "carrier", "datatype": "BYTES", "shape": [1], "parameters": size}
    rest = [raw(name, "FP64", [1.0]) for name in ("hour", "distance")]
    return binary_request((key, carrier), raw("route_id", datatype, [route]), *rest)


def described(sent: bytes, **changed: Any) -> BinaryRequest:
    """A matrix of these bytes, its description changed."""
    whole = {"name": "features", "datatype": "FP64", "shape": [1, 5], **changed}
    whole.setdefault("parameters", {"binary_data_size": len(sent)})
    return binary_request((whole, sent))


def text(data: bytes, length: int | None = None) -> bytes:
    """As BYTES; `length` is the one that is said."""
    return struct.pack("<I", len(data) if length is None else length) + data


def with_carrier(carrier: Input) -> BinaryRequest:
    """One row, the rest in JSON."""
    rest = [tensor("route_id", "INT64", [1]), tensor("hour", "FP64", [1]), tensor("distance", "FP64", [1])]
    return binary_request(carrier, *((one, b"") for one in rest))


GOOD = binary_request(matrix())
BAD: dict[str, tuple[bytes, int | str, str]] = {
    "length beyond the body": (GOOD.body, len(GOOD.body) + 1, "the body has"),
    "length within the JSON": (GOOD.body, GOOD.json_length - 1, "not valid JSON"),
    "length within the data": (GOOD.body, GOOD.json_length + 1, "not valid"),
    "no JSON": (GOOD.body, 0, "not valid JSON"),
    "negative length": (GOOD.body, -1, "is no number of bytes"),
    "signed length": (GOOD.body, "+5", "is no number of bytes"),
    "length in hex": (GOOD.body, "0x10", "is no number of bytes"),
    "length in other digits": (GOOD.body, "9" * 400, "is no number of bytes"),
    "two lengths": (GOOD.body, "1, 2", "is no number of bytes"),
    "data left over": (GOOD.body + b"x", GOOD.json_length, "1 bytes behind the JSON belong to no input"),
    "data cut short": (GOOD.body[:-1], GOOD.json_length, "but 39 bytes are left"),
    "no binary input": (
        *binary_request((tensor("features", "FP64", ROW, [1, 5]), b"12345678")),
        "belong to no input",
    ),
    "negative size": (*described(b"", parameters={"binary_data_size": -1}), "binary_data_size is -1"),
    "huge size": (*described(b"", parameters={"binary_data_size": 10**300}), "are left of the body"),
    "size is a text": (*described(b"", parameters={"binary_data_size": "40"}), "Expected `int | null`"),
    "size and shape differ": (*described(bytes(48)), "takes 40 bytes"),
    "size and datatype differ": (*described(bytes(40), datatype="FP32"), "takes 20 bytes"),
    "shape overflows": (*described(bytes(40), shape=[2**62 + 1, 5]), "send 1 to 10000 rows"),
    "shape is negative": (*described(bytes(40), shape=[-1, 5]), "send 1 to 10000 rows"),
    "both data": (*described(bytes(40), data=ROW), "both data and binary_data_size"),
    "unknown datatype": (*described(bytes(10), datatype="BF16"), "holds no numbers"),
    "texts for numbers": (*described(bytes(40), datatype="BYTES"), "holds no numbers"),
    "NaN bits": (*described(b"\xff" * 40), "a number is NaN"),
    "infinite": (*binary_request(matrix([float("inf"), *ROW[1:]], "FP32")), "a number is infinite"),
    "too large for the model": (*binary_request(matrix([1e300, *ROW[1:]])), "too large for this model"),
    "BOOL of 2": (*described(bytes([0, 1, 2, 1, 0]), datatype="BOOL"), "neither 0 nor 1"),
    "text cut short": (*by_entity(text(b"UA", 3)), "ends within a text"),
    "length cut short": (*by_entity(bytes(3)), "ends within a text"),
    "text of 4 GiB": (*by_entity(text(b"UA", 2**32 - 1)), "ends within a text"),
    "two texts for a row": (*by_entity(text(b"U") + text(b"")), "there are more texts"),
    "no text for a row": (*by_entity(b""), "data has 0 values"),
    "not UTF-8": (*by_entity(text(b"\xff")), "not UTF-8"),
    "half a surrogate pair": (*by_entity(text(b"\xed\xa0\x80")), "not UTF-8"),
    "long text": (*by_entity(text(b"x" * 1001)), "a text is too long"),
    "number for a text": (*with_carrier(raw("carrier", "INT64", [1])), "send datatype BYTES"),
    "key out of range": (*by_entity(text(b"U"), "UINT64", 2**63), "out of range"),
    "a fraction for a key": (*by_entity(text(b"U"), "FP64", 1.5), "this is an integer"),
}


@pytest.mark.parametrize("case", BAD)
def test_refuses_with_an_error_to_act_on(server: ServingProcess, case: str) -> None:
    body, json_length, message = BAD[case]
    said = send(server.port, body, json_length)
    assert (said.status, set(said.json)) == (400, {"error"})
    assert message in said.json["error"]
    assert len(said.json["error"]) < 1000


def test_nothing_has_ended_the_process(server: ServingProcess) -> None:
    assert server.process.poll() is None
    assert "unexpected error" not in server.log

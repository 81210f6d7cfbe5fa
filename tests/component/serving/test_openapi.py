"""The published OpenAPI document says what the server does: held against its answers, and its refusals."""

from __future__ import annotations

import http.client
import json
import random
from typing import TYPE_CHECKING, Any

import hostile_bodies
import pytest
from binary_request import send
from jsonschema import Draft202012Validator
from served_bundle import FEATURES, matrix_request, tensor
from waiting import HANG

if TYPE_CHECKING:
    from serving_process import ServingProcess

ROW = [0.1, 2.0, 0.3, 4.0, 0.5]
INFER = "/v2/models/{model}/infer"


@pytest.fixture(scope="module")
def document(server: ServingProcess) -> dict[str, Any]:
    status, document = server.get("/v2/openapi.json")
    assert (status, document["openapi"]) == (200, "3.1.0")
    return dict(document)


def validator(document: dict[str, Any], schema: dict[str, Any]) -> Draft202012Validator:
    """Of a schema of the document, whose references it follows."""
    whole = {**schema, "components": document["components"]}
    Draft202012Validator.check_schema(whole)
    return Draft202012Validator(whole)


def operations(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (path, method, item[method])
        for path, item in document["paths"].items()
        for method in ("get", "post")
        if method in item
    ]


def target(document: dict[str, Any], path: str) -> str:
    """The path with the only values that its parameters take."""
    for parameter in document["paths"][path].get("parameters", []):
        (value,) = parameter["schema"]["enum"]
        path = path.replace(f"{{{parameter['name']}}}", value)
    return path


def test_every_path_answers_as_described(server: ServingProcess, document: dict[str, Any]) -> None:
    assert {path for path, _, _ in operations(document)} >= {"/v2", "/metrics", INFER, "/v2/health/ready"}
    for path, method, operation in operations(document):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=HANG)
        body = json.dumps(matrix_request(ROW)) if method == "post" else None
        connection.request(method.upper(), target(document, path), body)
        response = connection.getresponse()
        media = response.headers["content-type"].partition(";")[0]
        described = operation["responses"][str(response.status)]["content"][media]["schema"]
        said = response.read()
        value = json.loads(said) if media == "application/json" else said.decode()
        assert response.status == 200, path
        validator(document, described).validate(value)
        connection.close()


def test_what_is_not_there_answers_as_described(server: ServingProcess, document: dict[str, Any]) -> None:
    error = validator(document, {"$ref": "#/components/schemas/Error"})
    for path, method, operation in operations(document):
        if "{model}" not in path:
            continue
        asked = path.replace("{model}", "nobody").replace("{version}", "1")
        said = server.get(asked) if method == "get" else server.infer({}, model="nobody")
        assert said[0] == 404
        assert "404" in operation["responses"]
        error.validate(said[1])


def test_the_examples_are_answered(server: ServingProcess, document: dict[str, Any]) -> None:
    examples = document["paths"][INFER]["post"]["requestBody"]["content"]["application/json"]["examples"]
    assert set(examples) == {"matrix", "columns"}
    for example in examples.values():
        status, answer = server.infer(example["value"])
        assert status == 200
        validator(document, {"$ref": "#/components/schemas/InferResponse"}).validate(answer)


def test_what_is_answered_is_allowed_and_what_is_not_allowed_is_refused(
    server: ServingProcess, document: dict[str, Any]
) -> None:
    """By mutated requests: whoever believes the document is not surprised."""
    request = validator(document, {"$ref": "#/components/schemas/InferRequest"})
    answered = refused = 0
    for number in range(160):
        made = hostile_bodies.mutated(random.Random(number))
        try:
            value = json.loads(made.body)
        except (ValueError, RecursionError):
            continue
        status, answer, *_ = send(server.port, made.body, None)
        if status == 400:
            refused += 1
            continue
        # by entity there is no online store here
        assert status in {200, 503}
        answered += 1
        problems = [error.message for error in request.iter_errors(value)]
        assert not problems, f"{made.body!r} was answered {answer}, but: {problems}"
    assert answered > 20
    assert refused > 20


@pytest.mark.parametrize("datatype", ["FP64", "FP32", "INT8", "UINT64", "BOOL"])
def test_good_requests_are_allowed(document: dict[str, Any], datatype: str) -> None:
    request = validator(document, {"$ref": "#/components/schemas/InferRequest"})
    values = [True, None] if datatype == "BOOL" else [1, None]
    columns = [tensor(name, datatype, values) for name in FEATURES]
    keys = [tensor("carrier", "BYTES", ["UA", "é"]), tensor("route_id", "INT32", [1, 2])]
    for inputs in (columns, columns[::-1], [*columns[3:], *keys]):
        request.validate({"inputs": inputs, "id": "x", "outputs": [{"name": "probability"}]})
    nested = tensor("features", datatype, [values[:1] * 5] * 3, [3, 5])
    request.validate({"inputs": [nested], "parameters": {"key": 7, "binary_data_output": True}})


UNSAID: dict[str, dict[str, Any]] = {
    "members": dict.fromkeys(["id", "parameters", "outputs"]),
    "parameters": {
        "parameters": dict.fromkeys(["event_timestamp", "key", "binary_data_output", "nan_is_missing"])
    },
    "output": {"outputs": [{"name": "probability", "parameters": None}]},
    "binary_data": {"outputs": [{"name": "probability", "parameters": {"binary_data": None}}]},
}
"""What clients in typed languages write for what they leave out."""


@pytest.mark.parametrize("unsaid", UNSAID.values(), ids=UNSAID)
def test_null_says_nothing(server: ServingProcess, document: dict[str, Any], unsaid: dict[str, Any]) -> None:
    made = {**matrix_request(ROW), **unsaid}
    made["inputs"][0]["parameters"] = None
    validator(document, {"$ref": "#/components/schemas/InferRequest"}).validate(made)
    status, answer = server.infer(made)
    assert (status, answer.get("error")) == (200, None)
    assert "id" not in answer

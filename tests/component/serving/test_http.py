"""What callers get, from a real process: good answers, and for bad requests an error that they can act on."""

from __future__ import annotations

import gzip
import http.client
import json
import re
import socket
from typing import TYPE_CHECKING, Any

import pytest
from served_bundle import FEATURES, answers, matrix_request, tensor
from waiting import HANG, until

if TYPE_CHECKING:
    from serving_process import ServingProcess

ROW = [0.1, 2.0, 0.3, 4.0, 0.5]


def by_column(row: list[float], datatype: str = "FP64") -> dict[str, Any]:
    return {"inputs": [tensor(name, datatype, [value]) for name, value in zip(FEATURES, row, strict=True)]}


def test_answers_a_row(server: ServingProcess) -> None:
    status, answer = server.infer({**matrix_request(ROW), "id": "mine"})
    assert status == 200
    assert (answer["model_name"], answer["model_version"], answer["id"]) == ("flight_delay", "1", "mine")
    (output,) = answer["outputs"]
    assert (output["name"], output["shape"], output["datatype"]) == ("probability", [1], "FP64")
    assert output["data"] == pytest.approx(answers([ROW], 1.0), abs=1e-6)
    assert answer["parameters"]["role"] == "champion"
    assert answer["parameters"]["missing_features"] == 0
    assert re.fullmatch(
        r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", prediction_id(answer)
    )


def prediction_id(answer: dict[str, Any]) -> str:
    return str(answer["parameters"]["prediction_id"])


def test_prediction_ids_differ_and_sort_by_time(server: ServingProcess) -> None:
    ids = [prediction_id(server.infer(matrix_request(ROW))[1]) for _ in range(20)]
    assert len(set(ids)) == 20
    assert [one[:13] for one in ids] == sorted(one[:13] for one in ids)


@pytest.mark.parametrize("datatype", ["FP64", "FP32"])
def test_answers_one_tensor_per_feature_in_any_order(server: ServingProcess, datatype: str) -> None:
    request = by_column(ROW, datatype)
    request["inputs"].reverse()
    status, answer = server.infer(request)
    assert status == 200
    assert answer["outputs"][0]["data"] == pytest.approx(answers([ROW], 1.0), abs=1e-6)


def test_answers_nested_rows_and_columns_of_one(server: ServingProcess) -> None:
    nested = {"inputs": [tensor("features", "FP64", [ROW, ROW], [2, 5])]}
    columns = {
        "inputs": [tensor(name, "FP64", [[1.0], [2.0]], [2, 1]) for name in FEATURES],
    }
    assert server.infer(nested)[0] == 200
    assert server.infer(columns)[1]["outputs"][0]["data"] == pytest.approx(
        answers([[1] * 5, [2] * 5], 1.0), abs=1e-6
    )


def test_takes_integers_and_booleans_as_numbers(server: ServingProcess) -> None:
    request = by_column(ROW)
    request["inputs"][3] = tensor("hour", "INT64", [4])
    request["inputs"][4] = tensor("distance", "BOOL", [True])
    assert server.infer(request)[1]["outputs"][0]["data"] == pytest.approx(
        answers([[0.1, 2, 0.3, 4, 1]], 1.0), abs=1e-6
    )


def test_null_is_a_missing_number_and_is_counted(server: ServingProcess) -> None:
    status, answer = server.infer(matrix_request([None, 2.0, 0.3, 4.0, None], ROW))
    assert status == 200
    assert answer["parameters"]["missing_features"] == 2
    assert answer["outputs"][0]["data"][0] == pytest.approx(answers([[0, 2, 0.3, 4, 0]], 1.0)[0], abs=1e-6)


def test_large_batches_are_answered_in_order(server: ServingProcess) -> None:
    rows = [[i / 1000, 0.0, 0.0, 0.0, 0.0] for i in range(3000)]
    data = server.infer(matrix_request(*rows))[1]["outputs"][0]["data"]
    assert data == pytest.approx(answers(rows, 1.0), abs=1e-6)


def matrix(data: list[Any], *shape: int) -> dict[str, Any]:
    return {"inputs": [tensor("features", "FP64", data, list(shape))]}


def by_entity(**changed: dict[str, Any]) -> dict[str, Any]:
    inputs = {
        "carrier": tensor("carrier", "BYTES", ["UA"]),
        "route_id": tensor("route_id", "INT64", [1]),
        "hour": tensor("hour", "FP64", [1]),
        "distance": tensor("distance", "FP64", [1]),
    }
    return {"inputs": list((inputs | changed).values())}


def raw_matrix(data: bytes) -> bytes:
    return b'{"inputs": [{"name": "features", "datatype": "FP64", "shape": [1, 5], "data": ' + data


COLUMNS = by_column(ROW)["inputs"]
BAD: dict[str, tuple[Any, str]] = {
    "not JSON": (b"{", "not valid JSON"),
    "empty": (b"", "not valid JSON"),
    "no object": (b"[]", "Expected `object`"),
    "NaN": (b'{"inputs": [NaN]}', "send null for a missing number"),
    "not UTF-8": (b'{"inputs": "\xff"}', "body"),
    "not UTF-8 where it has no effect": (b'{"inputs": [], "x\xff": "\xff"}', "not valid JSON"),
    "deep": (b"[" * 100_000, "body"),
    "deep in data": (raw_matrix(b"[" * 50_000), "body"),
    "no inputs": ({"inputs": []}, "missing: carrier_delay"),
    "a text": (matrix([1, 2, 3, 4, "5"], 1, 5), "Expected `float | null`, got `str` - at `data[4]`"),
    "a boolean": (matrix([1, 2, 3, 4, True], 1, 5), "got `bool`"),
    "infinite": (raw_matrix(b"[1, 2, 3, 4, 1e999]}]}"), "Number out of range"),
    "too large for the model": (matrix([1e300, 2, 3, 4, 5], 1, 5), "too large for this model"),
    "four features": (matrix([1, 2, 3, 4], 1, 4), "the model has 5 features"),
    "shape without rows": (matrix(ROW, 5), "send shape [rows, 5]"),
    "no rows": (matrix([], 0, 5), "send 1 to 10000 rows"),
    "too many rows": (matrix([], 10_001, 5), "send 1 to 10000 rows"),
    "negative rows": (matrix([], -1, 5), "send 1 to 10000 rows"),
    "data and shape differ": (matrix(ROW, 2, 5), "data has 5 values"),
    "ragged rows": (matrix([ROW, ROW[:4]], 2, 5), "a row has not 5 values"),
    "three dimensions": (matrix(ROW, 1, 5, 1), "send shape [rows, 5]"),
    "unknown datatype": ({"inputs": [tensor("features", "BF16", ROW, [1, 5])]}, "holds no numbers"),
    "FP16 in JSON": ({"inputs": [tensor("features", "FP16", ROW, [1, 5])]}, "send it as binary data"),
    "no data": ({"inputs": [{"name": "features", "datatype": "FP64", "shape": [1, 5]}]}, "it has no data"),
    "no binary part": (
        {"inputs": [{**tensor("features", "FP64", ROW, [1, 5]), "parameters": {"binary_data_size": 40}}]},
        "send the header Inference-Header-Content-Length",
    ),
    "shared memory": (
        {"inputs": [{**COLUMNS[0], "parameters": {"shared_memory_region": "r"}}, *COLUMNS[1:]]},
        "shared memory is not supported",
    ),
    "out of INT8": ({"inputs": [tensor("features", "INT8", [1, 2, 3, 4, 128], [1, 5])]}, "-128 to 127"),
    "negative UINT64": ({"inputs": [tensor("features", "UINT64", [-1, 2, 3, 4, 5], [1, 5])]}, "0 to 1844"),
    "a fraction as INT64": (
        {"inputs": [tensor("features", "INT64", [1.5, 2, 3, 4, 5], [1, 5])]},
        "Expected `int | null`, got `float`",
    ),
    "unknown output": ({**matrix_request(ROW), "outputs": [{"name": "label"}]}, "ask for 'probability'"),
    "output sent twice": ({**matrix_request(ROW), "outputs": [{"name": "probability"}] * 2}, "2 outputs"),
    "classification": (
        {**matrix_request(ROW), "outputs": [{"name": "probability", "parameters": {"classification": 3}}]},
        "classification is not supported",
    ),
    "output in shared memory": (
        {
            **matrix_request(ROW),
            "outputs": [{"name": "probability", "parameters": {"shared_memory_region": "r"}}],
        },
        "shared memory is not supported",
    ),
    "a long id": ({**matrix_request(ROW), "id": "x" * 1001}, "length <= 1000"),
    "a long key": (matrix_request(ROW, key="x" * 1001), "body"),
    "half a surrogate pair": (b'{"id": "\\ud800", "inputs": []}', "not valid JSON"),
    "text as feature": ({"inputs": [tensor("features", "BYTES", ["a"] * 5, [1, 5])]}, "holds no numbers"),
    "sent twice": ({"inputs": [tensor("hour", "FP64", [1]), tensor("hour", "FP64", [1])]}, "same name"),
    "missing column": ({"inputs": COLUMNS[1:]}, "missing: carrier_delay"),
    "misspelt column": ({"inputs": [*COLUMNS[:4], tensor("distence", "FP64", [1])]}, "is it distance?"),
    "unequal columns": ({"inputs": [*COLUMNS[:4], tensor("distance", "FP64", [1, 2])]}, "send shape [1]"),
    "number for a text key": (by_entity(carrier=tensor("carrier", "INT64", [1])), "send datatype BYTES"),
    "text for a number key": (by_entity(route_id=tensor("route_id", "BYTES", ["1"])), "send datatype INT64"),
    "key is null": (by_entity(carrier=tensor("carrier", "BYTES", [None])), "send JSON strings"),
    "key out of its datatype": (
        by_entity(route_id=tensor("route_id", "INT32", [2**31])),
        "-2147483648 to 2147483647",
    ),
    "a long text key": (
        by_entity(carrier=tensor("carrier", "BYTES", ["x" * 1001])),
        "send JSON strings of up to 1000",
    ),
    "key too large": (by_entity(route_id=tensor("route_id", "INT64", [2**63])), "out of range"),
    "half an entity": ({"inputs": [tensor("carrier", "BYTES", ["UA"])]}, "missing: distance, hour, route_id"),
}


@pytest.mark.parametrize("case", BAD)
def test_refuses_with_an_error_to_act_on(server: ServingProcess, case: str) -> None:
    body, message = BAD[case]
    status, answer = server.infer(body)
    assert status == 400
    assert set(answer) == {"error"}
    assert message in answer["error"]
    assert "Traceback" not in answer["error"]


def test_an_online_store_that_is_away_is_a_temporary_error(server: ServingProcess) -> None:
    status, answer = server.infer(by_entity())
    assert status == 503
    assert "the online store did not answer" in answer["error"]


def test_unknown_names_and_methods(server: ServingProcess) -> None:
    assert server.infer(matrix_request(ROW), model="nobody")[0] == 404
    status, answer = server.infer(matrix_request(ROW), version="7")
    assert (status, "ask for '1'" in answer["error"]) == (404, True)
    assert server.infer(matrix_request(ROW), version="1")[0] == 200
    assert server.get("/v2/models/flight_delay/infer")[0] == 405
    assert server.get("/nothing")[0] == 404
    assert server.get("/v2/models/flight_delay/versions/1/a/b")[0] == 404


@pytest.mark.parametrize("chunked", [False, True])
def test_a_large_body_is_refused_and_not_kept(server: ServingProcess, chunked: bool) -> None:
    body = b" " * 10_000_000
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=HANG)
    sent = (body[i : i + 65536] for i in range(0, len(body), 65536)) if chunked else body
    connection.request("POST", "/v2/models/flight_delay/infer", sent, encode_chunked=chunked,
                       headers={"Transfer-Encoding": "chunked"} if chunked else {})  # fmt: skip
    response = connection.getresponse()
    assert response.status == 413
    assert "larger than 4 MiB" in json.loads(response.read())["error"]
    connection.close()


def test_a_caller_that_hangs_up_is_no_fault_of_the_server(server: ServingProcess) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(
            b"POST /v2/models/flight_delay/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{"
        )
    until(lambda: 'requests_total{code="499"' in server.get("/metrics")[1])


@pytest.mark.parametrize("target", ["*", "/v2/models/%ff", "/v2/models/..%2f..%2fetc", "//v2", "/%00"])
def test_nothing_is_found_at_odd_paths(server: ServingProcess, target: str) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=HANG) as connection:
        connection.sendall(f"OPTIONS {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert connection.recv(100).startswith((b"HTTP/1.1 404", b"HTTP/1.1 405"))


@pytest.mark.parametrize("chunked", [False, True])
def test_compressed_bodies_are_refused(server: ServingProcess, chunked: bool) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=HANG)
    body = gzip.compress(json.dumps(matrix_request(ROW)).encode())
    connection.request("POST", "/v2/models/flight_delay/infer", iter([body]) if chunked else body,
                       headers={"Content-Encoding": "gzip"}, encode_chunked=chunked)  # fmt: skip
    response = connection.getresponse()
    assert (response.status, response.headers["accept-encoding"]) == (415, "identity")
    connection.close()


def test_405_says_what_is_allowed(server: ServingProcess) -> None:
    for method, path, allowed in (
        ("PUT", "/v2/models/flight_delay/infer", "POST"),
        ("POST", "/v2/models/flight_delay", "GET, HEAD"),
        ("DELETE", "/metrics", "GET, HEAD"),
    ):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=HANG)
        connection.request(method, path, b"x" * 1_000_000)
        response = connection.getresponse()
        assert (response.status, response.headers["allow"]) == (405, allowed)
        connection.close()


def test_head_answers_as_get_without_a_body(server: ServingProcess) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=HANG)
    for path in ("/v2", "/v2/health/ready", "/v2/models/flight_delay", "/metrics"):
        connection.request("HEAD", path)
        response = connection.getresponse()
        assert (response.status, response.read()) == (200, b"")
    connection.close()


def test_metadata_says_how_to_ask(server: ServingProcess) -> None:
    status, metadata = server.get("/v2/models/flight_delay")
    assert status == 200
    assert (metadata["name"], metadata["versions"], metadata["platform"]) == ("flight_delay", ["1"], "onnx")
    inputs = {item["name"]: item for item in metadata["inputs"]}
    assert inputs["features"]["shape"] == [-1, 5]
    assert inputs["carrier"]["datatype"] == "BYTES"
    assert inputs["route_id"]["datatype"] == "INT64"
    assert metadata["parameters"]["champion"] == "1"
    assert metadata["parameters"]["generation"] == 1
    assert metadata["parameters"]["failure"] is None
    assert server.get("/v2/models/flight_delay/versions/1") == (status, metadata)


def test_health(server: ServingProcess) -> None:
    assert server.get("/v2/health/live") == (200, {"live": True})
    assert server.get("/v2/health/ready") == (200, {"ready": True})
    assert server.get("/v2/models/flight_delay/ready")[0] == 200
    about = server.get("/v2")[1]
    assert (about["name"], about["extensions"]) == ("windtunnel", ["binary_tensor_data"])


def test_metrics_count_by_version_and_code(server: ServingProcess) -> None:
    server.infer(matrix_request(ROW))
    server.infer(b"{")
    metrics = server.get("/metrics")[1]
    assert (
        'windtunnel_serving_requests_total{code="200",model="flight_delay",role="champion",version="1"}'
        in metrics
    )
    assert (
        'windtunnel_serving_requests_total{code="400",model="flight_delay",role="champion",version="1"}'
        in metrics
    )
    assert 'role="champion",version="1"} 1.0' in metrics


def test_nothing_has_ended_the_process(server: ServingProcess) -> None:
    assert server.process.poll() is None
    assert "unexpected error" not in server.log

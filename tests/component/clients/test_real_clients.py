"""tritonclient and the KServe SDK, which no one here wrote, ask a serving process."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
from served_bundle import FEATURES, answers

if TYPE_CHECKING:
    from serving_process import ServingProcess

ROWS = [[0.5, 2.0, 0.25, 4.0, 0.5], [1.0, -1.0, 0.5, 0.0, 0.125], [0.0, 0.0, 0.0, 0.0, 0.0]]
WHOLE = [[1, 0, 1, 2, 1], [0, 0, 1, 1, 0]]
KINDS = [("FP64", ROWS), ("FP32", ROWS), ("INT64", WHOLE), ("INT32", WHOLE), ("UINT8", WHOLE)]


def call(
    *inputs: tuple[str, str, Any],
    binary: bool = True,
    outputs: tuple[tuple[str, bool], ...] = (),
    **more: Any,
) -> dict[str, Any]:
    return {
        "inputs": [
            {"name": name, "datatype": datatype, "values": values, "binary": binary}
            for name, datatype, values in inputs
        ],
        "outputs": [{"name": name, "binary": raw} for name, raw in outputs],
        "more": more,
    }


def columns(rows: list[list[float]], datatype: str, *shape_of_one: int) -> list[tuple[str, str, Any]]:
    """A tensor for each feature; of shape [rows, 1] with shape_of_one."""
    return [
        (name, datatype, [[value] for value in values] if shape_of_one else list(values))
        for name, values in zip(FEATURES, zip(*rows, strict=True), strict=True)
    ]


def by_entity(*carriers: str) -> list[tuple[str, str, Any]]:
    numbers = [float(row) for row in range(len(carriers))]
    return [
        ("carrier", "BYTES", list(carriers)),
        ("route_id", "INT64", [7] * len(carriers)),
        ("hour", "FP32", numbers),
        ("distance", "FP64", numbers),
    ]


def good_calls() -> list[tuple[dict[str, Any], list[list[float]]]]:
    """Calls, and the rows that the model sees."""
    good: list[tuple[dict[str, Any], list[list[float]]]] = []
    for binary in (True, False):
        for datatype, rows in KINDS:
            good.append((call(("features", datatype, rows), binary=binary), rows))
            good.append((call(*columns(rows, datatype), binary=binary), rows))
        good.append((call(*columns(ROWS, "FP32", 1), binary=binary, request_id="mine"), ROWS))
        many = [[row / 1000, 0, 0, 0, 0] for row in range(2500)]
        good.append((call(("features", "FP64", many), binary=binary), many))
        flags = [[1, 0, 1, 0, 0]]
        good.append((call(("features", "BOOL", flags), binary=binary), flags))
        entities = [[0, 0, 0, row, row] for row in range(3)]
        good.append((call(*by_entity("UA", "Zürich", ""), binary=binary), entities))
        for raw in (True, False):
            asked = call(("features", "FP64", ROWS), binary=binary, outputs=(("probability", raw),))
            good.append((asked, ROWS))
    return good


def missing() -> dict[str, Any]:
    values = [[math.nan, *ROWS[0][1:]]]
    return call(("features", "FP32", values), parameters={"nan_is_missing": True})


def bad_calls() -> list[tuple[dict[str, Any], str]]:
    return [
        (call(("features", "FP64", [[1.0, 2.0]])), "the model has 5 features"),
        (call(("features", "FP64", [[math.nan] * 5])), "nan_is_missing"),
        (call(("carrier", "BYTES", ["UA"])), "missing: distance, hour, route_id"),
        (call(("features", "FP64", ROWS), outputs=(("label", True),)), "ask for 'probability'"),
    ]


def check(good: list[Any], bad: list[Any], said: list[Any]) -> None:
    for (asked, rows), answer in zip(good, said, strict=False):
        assert "error" not in answer, f"{asked['inputs'][0]}: {answer}"
        dtype, values = answer["arrays"]["probability"]
        assert (dtype, len(values)) == ("float64", len(rows))
        assert values == pytest.approx(answers(rows, 1.0), abs=1e-6)
        assert answer["response"]["parameters"]["role"] == "champion"
        if "request_id" in asked["more"]:
            assert answer["response"]["id"] == "mine"
    for (_, message), answer in zip(bad, said[len(good) :], strict=True):
        assert answer["status"] == "400"
        assert message in answer["error"]


def test_tritonclient(clients: Any, server: ServingProcess) -> None:
    good, bad = good_calls(), bad_calls()
    good.append((call(("features", "FP64", ROWS), model_version="1"), ROWS))
    missing = call(
        ("features", "FP32", [[math.nan, 2.0, 0.25, 4.0, 0.5]]), parameters={"nan_is_missing": True}
    )
    good.append((missing, [[0, *ROWS[0][1:]]]))
    said = clients.calls("triton_calls", server, [asked for asked, _ in good] + [asked for asked, _ in bad])
    check(good, bad, said["answers"])
    assert said["parallel"] == [pytest.approx(answers(ROWS, 1.0), abs=1e-6)] * 50
    # raw unless one says no
    last = said["answers"][len(good) - 1]["response"]["outputs"][0]
    assert last["parameters"] == {"binary_data_size": 8}
    assert "data" not in last
    about = said["about"]
    assert [about[name] for name in ("live", "ready", "model_ready", "version_ready")] == [True] * 4
    assert about["other_version_ready"] is False
    assert about["server"]["extensions"] == ["binary_tensor_data"]
    assert about["model"] == about["version"]
    inputs = {item["name"]: item["datatype"] for item in about["model"]["inputs"]}
    assert inputs == {"features": "FP64", "carrier": "BYTES", "route_id": "INT64"} | dict.fromkeys(
        FEATURES, "FP64"
    )
    assert [item["name"] for item in about["model"]["outputs"]] == ["probability"]


def test_kserve(clients: Any, server: ServingProcess) -> None:
    good, bad = good_calls(), bad_calls()
    missing = call(
        ("features", "FP32", [[math.nan, 2.0, 0.25, 4.0, 0.5]]), parameters={"nan_is_missing": True}
    )
    good.append((missing, [[0, *ROWS[0][1:]]]))
    raw = call(("features", "FP64", ROWS), parameters={"binary_data_output": True})
    good.append((raw, ROWS))
    said = clients.calls("kserve_calls", server, [asked for asked, _ in good] + [asked for asked, _ in bad])
    check(good, bad, said["answers"])
    assert said["about"] == {"live": True, "ready": True, "model_ready": True, "other_model_ready": False}

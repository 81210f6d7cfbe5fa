"""The ServedModel's types, and the Kubernetes schema that is derived from them."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes_validate import validate
from pydantic import ValidationError

from windtunnel.spec.servedmodel import ServedModel, object_name
from windtunnel.spec.servedmodel_crd import crd

VERSION = {"version": "3", "bundle": "s3://windtunnel/a/bundles/b", "digest": "sha256:" + "0" * 64}
OBJECT: dict[str, Any] = {
    "apiVersion": "windtunnel.dev/v1alpha1",
    "kind": "ServedModel",
    "metadata": {"name": "flight-delay", "resourceVersion": "12", "labels": {"a": "b"}},
    "spec": {
        "lifecycle": "flight_delay",
        "champion": VERSION,
        "history": [
            {
                "number": 1,
                "action": "promotion",
                **VERSION,
                "runId": "manual__2013",
                "at": "2013-02-11T00:00:00Z",
                "by": "stage/rollout",
            }
        ],
    },
}


def changed(path: str, value: Any) -> dict[str, Any]:
    result = copy.deepcopy(OBJECT)
    *parents, last = path.split(".")
    place = result
    for name in parents:
        place = place.setdefault(name, {})
    place[last] = value
    return result


def test_what_is_read_is_what_is_written() -> None:
    model = ServedModel.model_validate(OBJECT)
    assert model.metadata.resource_version == "12"
    assert model.spec.history[0].run_id == "manual__2013"
    assert ServedModel.model_validate(model.to_object()) == model
    assert model.to_object()["spec"]["history"][0]["at"] == "2013-02-11T00:00:00Z"


def test_fields_of_a_later_release_are_no_error() -> None:
    assert ServedModel.model_validate(changed("spec.guard", {"errors": 0.01, "enabled": False}))


def test_the_name_follows_from_the_lifecycle() -> None:
    assert object_name("flight_delay") == "flight-delay"


BAD = {
    "traffic without challenger": ("spec.traffic", 10, "traffic needs a challenger"),
    "shadow without challenger": ("spec.shadow", True, "shadow needs a challenger"),
    "a limit below the margin": ("spec.guard", {"maxErrorRate": 0.001}, "could never count then"),
    "a negative margin": ("spec.guard", {"errorMargin": -0.1}, "greater than or equal to 0"),
    "faster than the champion": ("spec.guard", {"maxLatencyRatio": 0.5}, "greater than or equal to 1"),
    "a shift of nothing": ("spec.guard", {"maxPredictionShift": 0}, "greater than or equal to 0.01"),
    "healthy without a request": ("spec.guard", {"minRequests": 0}, "greater than or equal to 1"),
    "no number": ("spec.guard", {"errorMargin": float("nan")}, "errorMargin"),
    "traffic over 100": ("spec.traffic", 101, "less than or equal to 100"),
    "champion as challenger": ("spec.challenger", VERSION, "the same version"),
    "digest too short": ("spec.champion.digest", "sha256:12", "match pattern"),
    "digest in capitals": ("spec.champion.digest", "sha256:" + "A" * 64, "match pattern"),
    "no replica": ("spec.serving.replicas", 0, "greater than or equal to 1"),
    "too many replicas": ("spec.serving.replicas", 101, "less than or equal to 100"),
    "fewer pods at most than at least": ("spec.serving", {"replicas": 3, "maxReplicas": 2}, "is below"),
    "no pod at most": ("spec.serving.maxReplicas", 0, "greater than or equal to 1"),
    "too many pods at most": ("spec.serving.maxReplicas", 101, "less than or equal to 100"),
    "no CPU at all": ("spec.serving.targetCpu", 0, "greater than or equal to 1"),
    "more than the CPU": ("spec.serving.targetCpu", 101, "less than or equal to 100"),
    "too many warm": ("spec.keepWarm", 4, "less than or equal to 3"),
    "fewer than none warm": ("spec.keepWarm", -1, "greater than or equal to 0"),
    "more than all logged": ("spec.predictionLog.sample", 1.5, "less than or equal to 1"),
    "no share": ("spec.predictionLog.sample", float("nan"), "sample"),
    "no quantity": ("spec.serving.resources.requests", {"cpu": "many"}, "match pattern"),
    "unknown resource": ("spec.serving.resources.limits", {"gpu": "1"}, "'cpu', 'memory'"),
    "another's name": ("metadata.name", "other", "metadata.name must be"),
    "lifecycle in capitals": ("spec.lifecycle", "Flight", "match pattern"),
    "lifecycle that names no Service": ("spec.lifecycle", "flight_", "match pattern"),
    "no version": ("spec.champion.version", "", "at least 1 character"),
}


@pytest.mark.parametrize("case", BAD)
def test_refuses(case: str) -> None:
    path, value, message = BAD[case]
    with pytest.raises(ValidationError, match=message):
        ServedModel.model_validate(changed(path, value))


def test_the_schema_is_one_that_kubernetes_takes() -> None:
    made = crd()
    validate(made, "1.34", strict=True)
    assert made["metadata"]["name"] == "servedmodels.windtunnel.dev"
    (version,) = made["spec"]["versions"]
    assert version["subresources"] == {"status": {}}
    columns = version["additionalPrinterColumns"]
    shown = [column["name"].upper() for column in columns if not column.get("priority")]
    assert shown == ["MODEL", "CHAMPION", "CHALLENGER", "TRAFFIC", "GUARD", "PHASE", "READY", "AGE"]
    assert [column["name"].upper() for column in columns if column.get("priority")] == [
        "ROLLOUT", "WARM", "SCALING"
    ]  # fmt: skip


def _nodes(node: Any) -> list[dict[str, Any]]:
    if isinstance(node, list):
        return [found for item in node for found in _nodes(item)]
    if isinstance(node, dict):
        return [node, *(found for item in node.values() for found in _nodes(item))]
    return []


def test_the_schema_is_structural() -> None:
    schema = crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    for node in _nodes(schema):
        assert not {"$ref", "$defs", "anyOf", "propertyNames", "const"} & node.keys()


def test_every_rule_of_the_types_is_a_rule_of_the_schema() -> None:
    schema = crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    spec = schema["properties"]["spec"]
    rules = [rule["message"] for node in _nodes(schema) for rule in node.get("x-kubernetes-validations", ())]
    # traffic, shadow, twin, rollout, margin, replicas, name, rename, and known resources twice
    assert len(rules) == 10
    assert spec["properties"]["champion"]["properties"]["digest"]["pattern"] == "^sha256:[0-9a-f]{64}$"
    replicas = spec["properties"]["serving"]["properties"]["replicas"]
    assert {name: replicas[name] for name in replicas if name != "description"} == {
        "default": 1, "minimum": 1, "maximum": 100, "type": "integer"
    }  # fmt: skip


def test_the_chart_carries_the_generated_schema() -> None:
    root = Path(__file__).parents[3]
    assert yaml.safe_load((root / "charts/windtunnel/files/servedmodel-crd.yaml").read_text()) == crd()

"""From a ServedModel to the objects that serve it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from kubernetes_validate import validate

from windtunnel.controller.config import ControllerConfig
from windtunnel.controller.reconcile import desired
from windtunnel.spec import lifecycle
from windtunnel.spec.servedmodel import ServedModel

DNS = {"ports": [{"protocol": "UDP", "port": 53}]}
STORE = {
    "to": [{"podSelector": {"matchLabels": {"app.kubernetes.io/component": "object-store"}}}],
    "ports": [{"protocol": "TCP", "port": 9000}],
}
CONFIG = ControllerConfig(
    namespace="windtunnel",
    serving_image="windtunnel/serving:1",
    pull_policy="IfNotPresent",
    service_account="windtunnel-serving",
    configmap="windtunnel-serving",
    secrets=("windtunnel-object-store", "windtunnel-online-store"),
    name_prefix="windtunnel",
    checksum="abc",
    egress=(DNS, STORE),
    pod={},
    annotations={},
)


def served_model(**spec: Any) -> ServedModel:
    return ServedModel.model_validate(
        {
            "metadata": {"name": "flight-delay", "namespace": "windtunnel", "uid": "a-uid", "generation": 1},
            "spec": {"lifecycle": "flight_delay", "champion": version("1"), **spec},
        }
    )


def version(name: str) -> dict[str, str]:
    return {"version": name, "bundle": f"s3://windtunnel/{name}", "digest": "sha256:" + name * 64}


def objects(model: ServedModel | None = None, config: ControllerConfig = CONFIG) -> dict[str, dict[str, Any]]:
    return {item["kind"]: item for item in desired(model or served_model(), config)}


def container(made: dict[str, dict[str, Any]]) -> dict[str, Any]:
    (only,) = made["Deployment"]["spec"]["template"]["spec"]["containers"]
    result: dict[str, Any] = only
    return result


def test_makes_four_objects_that_kubernetes_takes_and_collects() -> None:
    made = objects()
    assert set(made) == {"Deployment", "Service", "PodDisruptionBudget", "NetworkPolicy"}
    for item in made.values():
        validate(item, "1.34", strict=True)
        metadata = item["metadata"]
        assert (metadata["name"], metadata["namespace"]) == ("flight-delay", "windtunnel")
        (owner,) = metadata["ownerReferences"]
        assert (owner["kind"], owner["uid"], owner["controller"]) == ("ServedModel", "a-uid", True)
        assert metadata["labels"]["app.kubernetes.io/component"] == "serving"
        assert metadata["labels"]["windtunnel.dev/served-model"] == "flight-delay"


def test_serving_pods_get_what_the_values_give_to_every_pod() -> None:
    pod = {
        "imagePullSecrets": [{"name": "registry"}],
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"key": "dedicated", "operator": "Exists"}],
        "priorityClassName": "platform",
        "serviceAccountName": "not this one",
    }
    made = objects(config=replace(CONFIG, pod=pod, annotations={"example.com/team": "ml"}))["Deployment"]
    validate(made, "1.34", strict=True)
    template = made["spec"]["template"]
    given = {name: template["spec"][name] for name in pod}
    assert given == {**pod, "serviceAccountName": "windtunnel-serving"}
    assert template["metadata"]["annotations"]["example.com/team"] == "ml"
    assert template["metadata"]["annotations"]["prometheus.io/scrape"] == "true"


def test_a_promotion_changes_no_object() -> None:
    promoted = served_model(
        champion=version("2"),
        previous=version("1"),
        history=[version("2") | {"number": 1, "action": "promotion", "at": "2026-03-01T00:00:00Z"}],
    )
    assert objects(promoted) == objects()


def test_a_challenger_changes_no_object() -> None:
    assert objects(served_model(challenger=version("2"), traffic=10)) == objects()


def test_pods_are_restricted() -> None:
    pod = objects()["Deployment"]["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 10001
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    security = container(objects())["securityContext"]
    assert security["allowPrivilegeEscalation"] is False
    assert security["readOnlyRootFilesystem"] is True
    assert security["capabilities"] == {"drop": ["ALL"]}


def test_pods_get_their_environment_by_name_only() -> None:
    sources = container(objects())["envFrom"]
    assert sources == [
        {"configMapRef": {"name": "windtunnel-serving"}},
        {"secretRef": {"name": "windtunnel-object-store"}},
        {"secretRef": {"name": "windtunnel-online-store"}},
    ]
    assert {item["name"] for item in container(objects())["env"]} == {"HOME", "TMPDIR"}


def test_pods_are_replaced_without_a_gap() -> None:
    spec = objects()["Deployment"]["spec"]
    assert spec["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    pod = spec["template"]["spec"]
    pre_stop = container(objects())["lifecycle"]["preStop"]["sleep"]["seconds"]
    # sleep, drain (2 s) and the end of requests in flight (20 s) fit in
    assert pod["terminationGracePeriodSeconds"] > pre_stop + 2 + 20


def test_probes_ask_the_protocol() -> None:
    made = container(objects())
    assert made["readinessProbe"]["httpGet"]["path"] == "/v2/health/ready"
    assert made["livenessProbe"]["httpGet"]["path"] == "/v2/health/live"


@pytest.mark.parametrize(
    ("asked", "made"),
    [
        ({}, {"requests": {"cpu": "100m", "memory": "192Mi"}, "limits": {"memory": "512Mi"}}),
        (
            {"requests": {"memory": "1Gi"}},
            {"requests": {"cpu": "100m", "memory": "1Gi"}, "limits": {"memory": "1Gi"}},
        ),
        (
            {"requests": {"cpu": "2"}, "limits": {"memory": "3Gi", "cpu": "4"}},
            {"requests": {"cpu": "2", "memory": "192Mi"}, "limits": {"memory": "3Gi", "cpu": "4"}},
        ),
    ],
)
def test_resources_have_defaults(asked: dict[str, Any], made: dict[str, Any]) -> None:
    model = served_model(serving={"replicas": 3, "resources": asked})
    assert container(objects(model))["resources"] == made
    assert objects(model)["Deployment"]["spec"]["replicas"] == 3


def test_an_autoscaler_decides_the_number_where_the_spec_gives_a_range() -> None:
    serving = {"replicas": 2, "maxReplicas": 8, "targetCpu": 60}
    made = objects(served_model(serving=serving))
    # what the Deployment says would be written over the autoscaler's number again and again
    assert "replicas" not in made["Deployment"]["spec"]
    scaler = made["HorizontalPodAutoscaler"]
    validate(scaler, "1.34", strict=True)
    spec = scaler["spec"]
    assert spec["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "flight-delay"}
    assert (spec["minReplicas"], spec["maxReplicas"]) == (2, 8)
    (metric,) = spec["metrics"]
    assert metric["resource"]["name"] == "cpu"
    assert metric["resource"]["target"] == {"type": "Utilization", "averageUtilization": 60}
    # utilization is of the request: without one there is nothing to scale by
    assert container(made)["resources"]["requests"]["cpu"]
    assert spec["behavior"]["scaleDown"]["stabilizationWindowSeconds"] >= 300
    (owner,) = scaler["metadata"]["ownerReferences"]
    assert owner["uid"] == "a-uid"
    # whatever the number, one pod at a time may be taken away
    assert made["PodDisruptionBudget"]["spec"]["maxUnavailable"] == 1


def test_a_range_changes_nothing_else() -> None:
    fixed, scaled = objects(), objects(served_model(serving={"maxReplicas": 3}))
    assert set(scaled) - set(fixed) == {"HorizontalPodAutoscaler"}
    fixed["Deployment"]["spec"].pop("replicas")
    assert {kind: scaled[kind] for kind in fixed} == fixed


def test_a_changed_configuration_rolls_the_pods() -> None:
    template = objects()["Deployment"]["spec"]["template"]
    assert objects(config=replace(CONFIG, checksum="def"))["Deployment"]["spec"]["template"] != template


def test_only_what_the_chart_names_can_be_reached() -> None:
    spec = objects()["NetworkPolicy"]["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert spec["egress"] == [DNS, STORE]
    (ingress,) = spec["ingress"]
    assert ingress["ports"] == [{"protocol": "TCP", "port": 8080}]


def test_without_network_policies_none_is_made() -> None:
    assert set(objects(config=replace(CONFIG, egress=None))) == {
        "Deployment",
        "Service",
        "PodDisruptionBudget",
    }


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"limits": {"cpu": "1"}},
        {"limits": {"cpu": "1"}, "requests": {"cpu": "1"}},
        {"limits": {"memory": "2Gi"}, "requests": {"memory": "1Gi"}},
    ],
)
def test_a_preflight_gets_the_memory_that_the_pod_will_have(asked: dict[str, Any]) -> None:
    resources = lifecycle.Resources.model_validate(asked)
    model = served_model(serving={"resources": resources.model_dump()})
    assert container(objects(model))["resources"]["limits"]["memory"] == resources.memory_limit

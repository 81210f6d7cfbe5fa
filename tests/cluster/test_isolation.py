"""Who may reach what: by network, and by the Kubernetes API."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from dev.demo.kubectl import Kubectl, KubectlError
from tests.cluster.release import NAMESPACE, RELEASE, STAGES

if TYPE_CHECKING:
    from dev.demo.thread import Platform

# A new pod's policies take effect a moment after it starts, so what must be open is waited for first.
PROBE = """
import socket, sys, time
def reach(target):
    host, port = target.rsplit(":", 1)
    try:
        socket.create_connection((host, int(port)), timeout=4).close()
    except OSError:
        return False
    return True
*allowed, denied = sys.argv[1:]
deadline = time.monotonic() + 40
while time.monotonic() < deadline and not all(reach(target) for target in allowed):
    time.sleep(0.5)
time.sleep(2)
for target in [*allowed, *denied.split(",")]:
    print(target, "open" if reach(target) else "closed")
"""


@pytest.fixture(scope="module")
def stage_template(platform: Platform) -> dict[str, dict]:
    """The pod template of each stage class, as the scheduler reads it."""
    import yaml

    maps = platform.kubectl.json("get", "configmaps", "-n", NAMESPACE)["items"]
    found = next(item["data"] for item in maps if "rollout.yaml" in (item.get("data") or {}))
    return {name.removesuffix(".yaml"): yaml.safe_load(text) for name, text in found.items()}


def probe(
    platform: Platform, template: dict, name: str, allowed: list[str], denied: list[str]
) -> dict[str, str]:
    """Which of the targets a pod of this template reaches: {target: "open" | "closed"}."""
    pod = json.loads(json.dumps(template))
    pod["metadata"]["name"] = name
    pod["metadata"]["namespace"] = STAGES
    container = pod["spec"]["containers"][0]
    container["command"] = ["python", "-c", PROBE, *allowed, ",".join(denied)]
    kubectl = platform.kubectl
    kubectl.run("delete", "pod", name, "-n", STAGES, "--ignore-not-found")
    kubectl.run("apply", "-f", "-", stdin=json.dumps(pod))
    try:
        kubectl.run(
            "wait",
            f"pod/{name}",
            "-n",
            STAGES,
            "--for=jsonpath={.status.phase}=Succeeded",
            "--timeout=120s",
            timeout=130,
        )
        lines = kubectl.run("logs", name, "-n", STAGES).splitlines()
    finally:
        kubectl.run("delete", "pod", name, "-n", STAGES, "--ignore-not-found", "--wait=false")
    return {line.split()[0]: line.split()[1] for line in lines if line}


def test_a_stage_pod_reaches_its_stores_but_neither_postgres_nor_the_kubernetes_api(
    platform: Platform, stage_template: dict[str, dict]
) -> None:
    postgres = f"{RELEASE}-postgres.{NAMESPACE}:5432"
    allowed = [
        f"{RELEASE}-object-store.{NAMESPACE}:9000",
        f"{RELEASE}-valkey.{NAMESPACE}:6379",
        f"{RELEASE}-mlflow.{NAMESPACE}:5000",
        f"{RELEASE}-airflow-api-server.{NAMESPACE}:8080",
    ]
    api = "kubernetes.default:443"
    reached = probe(platform, stage_template["small"], "probe-small", allowed, [postgres, api])
    assert reached == {postgres: "closed", api: "closed"} | dict.fromkeys(allowed, "open")


def test_only_pods_of_the_rollout_class_reach_the_kubernetes_api(
    platform: Platform, stage_template: dict[str, dict]
) -> None:
    postgres, api = f"{RELEASE}-postgres.{NAMESPACE}:5432", "kubernetes.default:443"
    reached = probe(platform, stage_template["rollout"], "probe-rollout", [api], [postgres])
    assert reached == {postgres: "closed", api: "open"}


def may(kubectl: Kubectl, account: str, verb: str, resource: str, namespace: str) -> bool:
    try:
        answer = kubectl.run(
            "auth",
            "can-i",
            verb,
            resource,
            "-n",
            namespace,
            f"--as=system:serviceaccount:{account}",
        )
    except KubectlError as error:  # "no" is exit code 1
        answer = str(error).rsplit(" ", 1)[-1]
    return answer.strip() == "yes"


def accounts(kubectl: Kubectl) -> list[str]:
    return [
        f"{namespace}:{item['metadata']['name']}"
        for namespace in (NAMESPACE, STAGES)
        for item in kubectl.json("get", "serviceaccounts", "-n", namespace)["items"]
    ]


def test_nobody_but_the_scheduler_and_the_api_server_lists_stage_pods(
    platform: Platform,
) -> None:
    may_list = {
        a.split(":")[1]
        for a in accounts(platform.kubectl)
        if may(platform.kubectl, a, "list", "pods", STAGES)
    }
    assert may_list == {f"{RELEASE}-airflow-scheduler", f"{RELEASE}-airflow-api-server"}


def test_the_rollout_account_may_change_served_models_and_nothing_else(
    platform: Platform,
) -> None:
    kubectl = platform.kubectl
    rollout = next(a for a in accounts(kubectl) if a.startswith(f"{STAGES}:") and a.endswith("rollout"))
    served = "servedmodels.windtunnel.dev"
    assert [verb for verb in ("get", "create", "patch") if may(kubectl, rollout, verb, served, NAMESPACE)]
    for verb, resource, namespace in [
        ("delete", served, NAMESPACE),
        ("get", "secrets", NAMESPACE),
        ("get", "pods", NAMESPACE),
        ("list", "pods", STAGES),
        ("create", "pods", STAGES),
        ("get", "configmaps", NAMESPACE),
    ]:
        assert not may(kubectl, rollout, verb, resource, namespace), (
            verb,
            resource,
            namespace,
        )


def test_a_pod_that_is_not_restricted_is_refused_in_the_stages_namespace(
    platform: Platform,
) -> None:
    with pytest.raises(KubectlError, match="PodSecurity"):
        platform.kubectl.run("run", "root", "-n", STAGES, "--image=x", "--restart=Never")

"""The watcher of stage pods beside the scheduler: what it may see, and what it may write."""

from __future__ import annotations

import pytest

from windtunnel.airflow.pod_deaths import FATAL_WAITS


@pytest.fixture
def scheduler(default_pods):
    [pod] = [pod for name, pod in default_pods.items() if "scheduler" in name]
    return {container["name"]: container for container in pod["spec"]["containers"]}


def environment(container):
    return {variable["name"]: variable.get("value", "") for variable in container["env"]}


def secrets(container):
    return {v["name"] for v in container["env"] if "secretKeyRef" in v.get("valueFrom", {})}


def test_it_gives_a_pod_up_when_the_executor_does(scheduler):
    given = environment(scheduler["scheduler"])
    reasons = given["AIRFLOW__KUBERNETES_EXECUTOR__WORKER_POD_PENDING_FATAL_CONTAINER_STATE_REASONS"]
    assert reasons.split(",") == sorted(FATAL_WAITS)


def test_each_try_has_one_pod_so_that_it_has_one_ending(scheduler):
    given = environment(scheduler["scheduler"])
    assert given["AIRFLOW__KUBERNETES_EXECUTOR__POD_LAUNCH_FAILURE_RETRIES"] == "0"


def test_it_watches_the_namespace_of_the_stages_and_writes_to_the_store(scheduler):
    given = environment(scheduler["pod-watch"])
    assert given["AIRFLOW__KUBERNETES_EXECUTOR__NAMESPACE"] == "windtunnel-stages"
    assert given["WINDTUNNEL_STORE"] == "s3://windtunnel"


def test_it_holds_the_stores_keys_alone_and_the_scheduler_does_not(scheduler):
    keys = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
    assert secrets(scheduler["pod-watch"]) == keys
    assert "envFrom" not in scheduler["pod-watch"]
    assert not keys & secrets(scheduler["scheduler"])


def test_the_network_lets_it_through_to_the_store(default_objects):
    policies = {o["metadata"]["name"]: o["spec"] for o in default_objects if o["kind"] == "NetworkPolicy"}
    ports = {p["port"] for rule in policies["windtunnel-airflow-scheduler"]["egress"] for p in rule["ports"]}
    assert 9000 in ports
    [ingress] = policies["windtunnel-object-store"]["ingress"]
    components = {
        peer.get("podSelector", {}).get("matchLabels", {}).get("app.kubernetes.io/component")
        for peer in ingress["from"]
    }
    assert "airflow-scheduler" in components

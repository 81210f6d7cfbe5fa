"""The exporter, Airflow's statsd exporter, and the prices that stage pods are told."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
import yaml

if TYPE_CHECKING:
    from pathlib import Path

CONTROL_PLANE = ("api-server", "dag-processor", "scheduler", "triggerer")


def policy(objects: list[dict[str, Any]], name: str) -> dict[str, Any]:
    [found] = [
        o["spec"]
        for o in objects
        if o["kind"] == "NetworkPolicy" and o["metadata"]["name"] == f"windtunnel-{name}"
    ]
    return found


def airflow_environment(objects: list[dict[str, Any]]) -> dict[str, str]:
    [found] = [
        o["data"]
        for o in objects
        if o["kind"] == "ConfigMap" and o["metadata"]["name"] == "windtunnel-airflow"
    ]
    return found


@pytest.fixture(scope="module")
def mapping(chart_directory: Path) -> dict[str, Any]:
    return yaml.safe_load((chart_directory / "files/statsd-mapping.yaml").read_text())


@pytest.mark.parametrize(("name", "port"), [("exporter", "9108"), ("statsd-exporter", "9102")])
def test_prometheus_finds_the_pod_by_its_annotations(default_objects, default_pods, name, port):
    pod = default_pods[f"windtunnel-{name}"]
    annotations = pod["metadata"]["annotations"]
    assert annotations["prometheus.io/scrape"] == "true"
    assert annotations["prometheus.io/port"] == port
    ports = {p["name"]: p["containerPort"] for p in pod["spec"]["containers"][0]["ports"]}
    assert str(ports["metrics"]) == port
    [service] = [
        o for o in default_objects if o["kind"] == "Service" and o["metadata"]["name"] == f"windtunnel-{name}"
    ]
    assert ("metrics", int(port)) in {(p["name"], p["port"]) for p in service["spec"]["ports"]}


def test_the_exporter_may_list_served_models_and_nothing_else(default_objects):
    [role] = [
        o for o in default_objects if o["kind"] == "Role" and o["metadata"]["name"] == "windtunnel-exporter"
    ]
    assert role["rules"] == [
        {"apiGroups": ["windtunnel.dev"], "resources": ["servedmodels"], "verbs": ["list"]}
    ]


def test_the_exporter_holds_the_object_stores_keys_and_no_others(pods):
    for name, pod in pods.items():
        if name.endswith("-exporter") and "statsd" not in name:
            [container] = pod["spec"]["containers"]
            referred = {v["name"] for v in container["env"] if "secretKeyRef" in v.get("valueFrom", {})}
            assert referred == {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}


def test_the_exporter_is_told_how_often_to_look(render):
    [pod] = [
        o["spec"]["template"]["spec"]
        for o in render({"exporter": {"refreshSeconds": 90}})
        if o["kind"] == "Deployment" and o["metadata"]["name"] == "windtunnel-exporter"
    ]
    environment = {v["name"]: v.get("value") for v in pod["containers"][0]["env"]}
    assert environment["WINDTUNNEL_EXPORTER_REFRESH_SECONDS"] == "90"


def test_the_statsd_exporter_asks_nobody_anything(default_objects):
    assert "egress" not in policy(default_objects, "statsd-exporter")


def test_the_control_plane_sends_to_the_statsd_exporter(default_objects):
    environment = airflow_environment(default_objects)
    assert environment["AIRFLOW__METRICS__STATSD_ON"] == "True"
    assert environment["AIRFLOW__METRICS__STATSD_HOST"] == "windtunnel-statsd-exporter.windtunnel"
    assert environment["AIRFLOW__METRICS__STATSD_PORT"] == "9125"
    for component in CONTROL_PLANE:
        egress = policy(default_objects, f"airflow-{component}")["egress"]
        assert [{"protocol": "UDP", "port": 9125}] in [rule["ports"] for rule in egress], component


def test_without_the_statsd_exporter_airflow_sends_nothing_and_may_not(render):
    objects = render({"statsdExporter": {"enabled": False}})
    assert not [o for o in objects if o["_template"].startswith("statsd-exporter")]
    assert not [name for name in airflow_environment(objects) if "STATSD" in name]
    for component in CONTROL_PLANE:
        assert "9125" not in str(policy(objects, f"airflow-{component}"))


def test_a_changed_mapping_restarts_the_statsd_exporter(default_pods):
    assert "checksum/config" in default_pods["windtunnel-statsd-exporter"]["metadata"]["annotations"]


def test_every_mapping_names_and_describes_a_metric_and_the_rest_is_dropped(mapping):
    *kept, last = mapping["mappings"]
    assert (last["match"], last["match_type"], last["action"]) == (".", "regex", "drop")
    names = [one["name"] for one in kept]
    assert len(names) == len(set(names))
    for one in kept:
        assert re.fullmatch(r"airflow_[a-z_]+", one["name"]), one
        assert one["help"].endswith("."), one
        assert one["match"].startswith("airflow."), one


def test_the_tags_that_metrics_are_told_apart_by_are_not_disabled(default_objects):
    disabled = airflow_environment(default_objects)["AIRFLOW__METRICS__STATSD_DISABLED_TAGS"].split(",")
    # Airflow looks for each of these anywhere in a tag's name.
    for needed in ("dag_id", "task_id", "pool_name", "status", "state"):
        assert not [name for name in disabled if re.findall(name, needed)], needed


def test_stage_pods_are_told_their_class_and_its_price(render):
    [templates] = [
        o for o in render(variant="all-options") if o["metadata"]["name"].endswith("pod-templates")
    ]
    told = {}
    for file, text in templates["data"].items():
        if not file.endswith(".yaml"):
            continue
        environment = yaml.safe_load(text)["spec"]["containers"][0]["env"]
        told[file.removesuffix(".yaml")] = {
            v["name"]: v["value"]
            for v in environment
            if v["name"].startswith(("WINDTUNNEL_STAGE_C", "WINDTUNNEL_PRICE"))
        }
    assert told["gpu"] == {"WINDTUNNEL_STAGE_CLASS": "gpu", "WINDTUNNEL_PRICE_PER_HOUR": "2.48"}
    assert told["small"] == {"WINDTUNNEL_STAGE_CLASS": "small"}


def test_a_price_of_nothing_is_a_price(render):
    [templates] = [
        o
        for o in render({"stages": {"classes": {"small": {"pricePerHour": 0}}}})
        if o["metadata"]["name"].endswith("pod-templates")
    ]
    assert 'WINDTUNNEL_PRICE_PER_HOUR, value: "0"' in templates["data"]["small.yaml"]

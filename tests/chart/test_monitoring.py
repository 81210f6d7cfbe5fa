"""Who scrapes what: the release's Prometheus, the operator's, or one of the user's; the optional Grafana."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jsonschema
import pytest
import yaml

Object = dict[str, Any]
OPERATOR_KINDS = Path(__file__).with_name("operator_kinds.json")
COUNTING = {"serving": 8080, "exporter": 9108, "statsd-exporter": 9102}
PEER = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}


def one(objects: list[Object], kind: str, name: str) -> Object:
    [found] = [o for o in objects if (o["kind"], o["metadata"]["name"]) == (kind, name)]
    return found


@pytest.fixture(scope="module")
def operated(render) -> list[Object]:
    operator = {"enabled": True, "labels": {"release": "stack"}}
    return render({"monitoring": {"operator": operator, "scrapeFrom": [PEER]}})


@pytest.fixture(scope="module")
def with_grafana(render) -> list[Object]:
    return render({"grafana": {"enabled": True}})


def test_prometheus_may_reach_all_that_counts(default_objects):
    egress = one(default_objects, "NetworkPolicy", "windtunnel-prometheus")["spec"]["egress"]
    reached = {
        peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"]: rule["ports"][0]["port"]
        for rule in egress
        for peer in rule.get("to", [])
        if "podSelector" in peer
    }
    assert reached == COUNTING


def test_what_counts_asks_to_be_scraped(default_objects):
    """By annotation; the controller annotates the serving pods."""
    annotated = {
        o["metadata"]["labels"]["app.kubernetes.io/component"]: int(annotations["prometheus.io/port"])
        for o in default_objects
        if o["kind"] in {"Deployment", "StatefulSet"}
        and (annotations := o["spec"]["template"]["metadata"].get("annotations", {})).get(
            "prometheus.io/scrape"
        )
        == "true"
    }
    assert annotated == {name: port for name, port in COUNTING.items() if name != "serving"}


def test_without_the_operator_none_of_its_kinds_is_made(default_objects):
    assert not [o for o in default_objects if o["apiVersion"].startswith("monitoring.coreos.com/")]


@pytest.mark.parametrize("variant", ["default", "all-options"])
def test_the_operators_api_takes_its_objects_whole(render, variant):
    """By the schemas of its kinds; what these do not know the API server would drop without a word."""
    objects = render({"monitoring": {"operator": {"enabled": True}, "scrapeFrom": [PEER]}}, variant=variant)
    theirs = [o for o in objects if o["apiVersion"] == "monitoring.coreos.com/v1"]
    schemas = json.loads(OPERATOR_KINDS.read_text())["schemas"]
    assert {o["kind"] for o in theirs} == schemas.keys()
    for item in theirs:
        assert item["metadata"]["name"]
        jsonschema.Draft202012Validator(closed(schemas[item["kind"]])).validate({"spec": item["spec"]})


def closed(schema: Any) -> Any:
    """The schema, with what it does not name forbidden."""
    if isinstance(schema, list):
        return [closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    told = {key: closed(value) for key, value in schema.items()}
    return (
        {"additionalProperties": False, **told}
        if told.get("type") == "object" and "properties" in told
        else told
    )


def test_the_operator_finds_services_and_pods_that_exist(operated):
    monitors = [o for o in operated if o["kind"] == "ServiceMonitor"]
    for monitor in monitors:
        assert monitor["metadata"]["labels"]["release"] == "stack"
        chosen = [
            o
            for o in operated
            if o["kind"] == "Service"
            and monitor["spec"]["selector"]["matchLabels"].items() <= o["metadata"]["labels"].items()
        ]
        assert len(chosen) == 1, monitor["metadata"]["name"]
        assert monitor["spec"]["namespaceSelector"] == {"matchNames": [chosen[0]["metadata"]["namespace"]]}
        [endpoint] = monitor["spec"]["endpoints"]
        assert endpoint["port"] in {port["name"] for port in chosen[0]["spec"]["ports"]}
    assert {m["metadata"]["name"] for m in monitors} == {"windtunnel-exporter", "windtunnel-statsd-exporter"}
    pods = one(operated, "PodMonitor", "windtunnel-serving")["spec"]
    assert pods["selector"]["matchLabels"]["app.kubernetes.io/component"] == "serving"
    # The name that the controller gives the port: see test_reconcile.py.
    assert pods["podMetricsEndpoints"][0]["port"] == "http"


def test_both_ways_of_scraping_give_the_labels_that_alerts_and_dashboards_build_on(operated):
    config = one(operated, "ConfigMap", "windtunnel-prometheus")["data"]["prometheus.yml"]
    [job] = [job for job in yaml.safe_load(config)["scrape_configs"] if job["job_name"] == "pods"]
    own = {
        rule["target_label"]: rule["source_labels"]
        for rule in job["relabel_configs"]
        if "target_label" in rule
    }
    for kind, name, key in (
        ("PodMonitor", "windtunnel-serving", "podMetricsEndpoints"),
        ("ServiceMonitor", "windtunnel-exporter", "endpoints"),
    ):
        [endpoint] = one(operated, kind, name)["spec"][key]
        theirs = {rule["targetLabel"]: rule["sourceLabels"] for rule in endpoint["relabelings"]}
        assert set(theirs) == {"component", "served_model", "lifecycle"}
        assert theirs.items() <= own.items()


def test_a_prometheus_of_the_users_may_scrape_where_it_is_said(operated, default_objects):
    for component, port in COUNTING.items():
        policy = one(operated, "NetworkPolicy", f"windtunnel-monitoring-{component}")["spec"]
        assert policy["ingress"] == [{"from": [PEER], "ports": [{"protocol": "TCP", "port": port}]}]
        chosen = policy["podSelector"]["matchLabels"]
        assert chosen["app.kubernetes.io/component"] == component
        # The controller labels serving pods, by ServedModel; the others are this release's alone.
        assert ("app.kubernetes.io/instance" in chosen) == (component != "serving")
    assert not [o for o in default_objects if o["metadata"]["name"].startswith("windtunnel-monitoring")]


def test_alertmanagers_are_told_and_reached(render):
    objects = render(variant="all-options")
    config = yaml.safe_load(one(objects, "ConfigMap", "wt-prometheus")["data"]["prometheus.yml"])
    [told] = config["alerting"]["alertmanagers"]
    assert told["static_configs"] == [
        {"targets": ["alertmanager.example.com:9093", "alertmanager-b.example.com:80"]}
    ]
    egress = one(objects, "NetworkPolicy", "wt-prometheus")["spec"]["egress"]
    # Before and behind a Service.
    assert egress[-1] == {
        "to": [{"ipBlock": {"cidr": "192.0.2.30/32"}}],
        "ports": [{"protocol": "TCP", "port": port} for port in (9093, 9094, 80)],
    }


def test_changed_alerts_restart_prometheus_and_nothing_else(render, default_objects):
    def checksums(objects: list[Object]) -> dict[str, Object]:
        return {
            o["metadata"]["name"]: o["spec"]["template"]["metadata"].get("annotations", {})
            for o in objects
            if o["kind"] in {"Deployment", "StatefulSet"}
        }

    before = checksums(default_objects)
    after = checksums(render({"monitoring": {"alerts": {"disabled": ["WindtunnelDrift"]}}}))
    assert {name for name in before if before[name] != after[name]} == {"windtunnel-prometheus"}


def test_dashboards_are_found_by_grafanas_sidecar(render, default_objects, chart_directory):
    def dashboards(objects: list[Object]) -> list[Object]:
        return [o for o in objects if "-dashboard-" in o["metadata"]["name"]]

    files = {file.name: file.read_text() for file in (chart_directory / "dashboards").glob("*.json")}
    found = dashboards(default_objects)
    assert {name: text for o in found for name, text in o["data"].items()} == files
    assert len(files) == 4
    for item in found:
        assert item["metadata"]["labels"]["grafana_dashboard"] == "1"
        assert item["metadata"]["annotations"] == {"grafana_folder": "Windtunnel"}
    for item in dashboards(render(variant="all-options")):
        assert item["metadata"]["labels"]["dashboards"] == "grafana"
        assert item["metadata"]["annotations"] == {"folder": "Machine learning"}
    assert not dashboards(render({"monitoring": {"dashboards": {"enabled": False}}}))


def test_grafana_is_not_there_unless_asked_for(default_objects):
    assert not [o for o in default_objects if "grafana" in o["metadata"]["name"]]


def test_grafana_finds_its_datasource_and_its_dashboards(with_grafana, chart_directory):
    config = one(with_grafana, "ConfigMap", "windtunnel-grafana")["data"]
    [source] = yaml.safe_load(config["datasources.yaml"])["datasources"]
    url = urlsplit(source["url"])
    service = one(with_grafana, "Service", url.hostname or "")
    assert url.port in {port["port"] for port in service["spec"]["ports"]}
    [provider] = yaml.safe_load(config["dashboards.yaml"])["providers"]
    [container] = one(with_grafana, "Deployment", "windtunnel-grafana")["spec"]["template"]["spec"][
        "containers"
    ]
    mounted = {m["mountPath"]: m.get("subPath") for m in container["volumeMounts"]}
    for file in (chart_directory / "dashboards").glob("*.json"):
        assert mounted[f"{provider['options']['path']}/{file.name}"] == file.name
        assert json.loads(config[file.name]) == json.loads(file.read_text())
    home = {v["name"]: v.get("value") for v in container["env"]}["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home in mounted


def test_grafana_reaches_prometheus_alone_and_only_it_and_the_uis_reach_prometheus(with_grafana):
    def component(peer: Object) -> str:
        return peer.get("podSelector", {}).get("matchLabels", {}).get("app.kubernetes.io/component", "")

    dns, asked = one(with_grafana, "NetworkPolicy", "windtunnel-grafana")["spec"]["egress"]
    assert {port["port"] for port in dns["ports"]} == {53, 5353}
    assert [component(peer) for peer in asked["to"]] == ["prometheus"]
    [rule] = one(with_grafana, "NetworkPolicy", "windtunnel-prometheus")["spec"]["ingress"]
    assert [component(peer) for peer in rule["from"]] == ["grafana"]


def test_grafana_may_ask_a_prometheus_elsewhere(render):
    objects = render(variant="all-options")
    [source] = yaml.safe_load(one(objects, "ConfigMap", "wt-grafana")["data"]["datasources.yaml"])[
        "datasources"
    ]
    assert source["url"] == "https://prometheus.example.com:9443"
    egress = one(objects, "NetworkPolicy", "wt-grafana")["spec"]["egress"]
    assert egress[-1] == {
        "to": [{"ipBlock": {"cidr": "192.0.2.20/32"}}],
        "ports": [{"protocol": "TCP", "port": port} for port in (9443, 9090, 9091)],
    }

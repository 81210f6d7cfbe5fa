"""values.yaml, its schema and the templates agree, and bad values fail with how to mend them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import helm_python as helm
import pytest
import yaml

if TYPE_CHECKING:
    from pathlib import Path


def paths(values: dict, prefix: str = "") -> list[str]:
    """Every key of a values file, dotted."""
    found = []
    for key, value in values.items():
        found.append(f"{prefix}{key}")
        if isinstance(value, dict):
            found += paths(value, f"{prefix}{key}.")
    return found


def described(schema: dict, root: dict, prefix: str = "") -> dict[str, str]:
    """Dotted path → description, of everything that the schema names."""
    for part in schema.get("allOf", []):
        schema = {
            **root["$defs"][part["$ref"].rpartition("/")[2]],
            **{k: v for k, v in schema.items() if k != "allOf"},
        }
    if "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rpartition("/")[2]]
    found = {prefix.removesuffix("."): schema.get("description", "")} if prefix else {}
    for key, value in schema.get("properties", {}).items():
        found |= described(value, root, f"{prefix}{key}.")
    return found


@pytest.fixture(scope="module")
def values(chart_directory: Path) -> dict:
    return yaml.safe_load((chart_directory / "values.yaml").read_text())


@pytest.fixture(scope="module")
def schema(chart_directory: Path) -> dict:
    return json.loads((chart_directory / "values.schema.json").read_text())


def test_the_schema_is_the_one_that_the_values_describe(chart_directory: Path):
    generated = subprocess.run(
        [sys.executable, str(chart_directory.parent / "values_schema.py")],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert generated == (chart_directory / "values.schema.json").read_text(), "run `make generate`"


def test_every_value_is_described(values: dict, schema: dict):
    descriptions = described(schema, schema)
    # Below resources stand names of Kubernetes', not ours.
    ours = [p for p in paths(values) if not re.search(r"\.(requests|limits)\.", p)]
    assert [p for p in ours if len(descriptions.get(p, "")) < 5] == []


def test_every_value_is_used_by_a_template(values: dict, chart_directory: Path):
    templates = "\n".join(p.read_text() for p in (chart_directory / "templates").rglob("*") if p.is_file())
    unused = []
    for path in paths(values):
        *parents, key = path.split(".")
        whole = re.compile(r"\.Values\." + re.escape(path) + r"\b")
        # Within a `with`, or as an image picked by its name, the key alone is seen.
        alone = re.compile(r"\." + re.escape(key) + r"\b|\"" + re.escape(key) + r"\"")
        passed_on = any(
            re.search(r"\.Values\." + re.escape(".".join(parents[:n])) + r"\b", templates)
            for n in range(1, len(parents) + 1)
        )
        free = re.search(r"\.(resources|classes|thresholds)\.", path)
        if not whole.search(templates) and not (passed_on and (free or alone.search(templates))):
            unused.append(path)
    assert unused == []


def test_the_schema_is_closed_everywhere(schema: dict):
    def visit(node: object, path: str) -> None:
        if isinstance(node, dict):
            if node.get("type") == "object" and "properties" in node:
                assert "additionalProperties" in node, path
                assert node["additionalProperties"] is not True, path
            for key, value in node.items():
                visit(value, f"{path}/{key}")
        elif isinstance(node, list):
            for index, value in enumerate(node):
                visit(value, f"{path}/{index}")

    visit(schema, "")


def test_the_all_options_file_sets_every_option(values: dict, chart_directory: Path):
    options = yaml.safe_load((chart_directory / "ci/all-options-values.yaml").read_text())
    external = yaml.safe_load((chart_directory / "ci/external-values.yaml").read_text())
    given = set(paths(options)) | set(paths(external))
    free = re.compile(r"\.(requests|limits)\.|^stages\.classes\.|\.enabled$")
    assert [p for p in paths(values) if p not in given and not free.search(p)] == []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"postgress": {}}, "postgress"),
        ({"airflow": {"scheduler": {"replicas": 2}}}, "replicas"),
        ({"images": {"tag": "latest"}}, "/images/tag"),
        ({"images": {"postgres": {"tag": ""}}}, "/images/postgres/tag"),
        ({"images": {"pullPolicy": "Sometimes"}}, "/images/pullPolicy"),
        ({"stages": {"terminationGracePeriodSeconds": 30}}, "/stages/terminationGracePeriodSeconds"),
        ({"stages": {"classes": {"gpu": {}}}}, "resources"),
        ({"stages": {"classes": {"rollout": None}}}, "rollout"),
        ({"stages": {"classes": {"Big": {"resources": {"requests": {}, "limits": {}}}}}}, "Big"),
        ({"postgres": {"persistence": {"size": "8GB"}}}, "/postgres/persistence/size"),
        ({"valkey": {"maxMemory": "1 GB"}}, "/valkey/maxMemory"),
        ({"objectStore": {"bucket": "My_Bucket"}}, "/objectStore/bucket"),
        ({"objectStore": {"external": {"endpoint": "s3.example.com"}}}, "/objectStore/external/endpoint"),
        ({"networkPolicy": {"kubernetesApi": {"ports": []}}}, "/networkPolicy/kubernetesApi/ports"),
        ({"mlflow": {"resources": {"limits": {"memory": "lots"}}}}, "/mlflow/resources/limits/memory"),
        ({"grafana": {"prometheusUrl": "https://me:secret@prometheus"}}, "/grafana/prometheusUrl"),
        ({"prometheus": {"scrapeInterval": "10m"}}, "/prometheus/scrapeInterval"),
        ({"monitoring": {"operator": {"interval": "61s"}}}, "/monitoring/operator/interval"),
        ({"exporter": {"refreshSeconds": 301}}, "/exporter/refreshSeconds"),
        # the highest bucket of the histograms: no quantile lies above it, so the alert would never ring
        (
            {"monitoring": {"alerts": {"thresholds": {"servingSeconds": 5}}}},
            "/monitoring/alerts/thresholds/servingSeconds",
        ),
        (
            {"monitoring": {"alerts": {"thresholds": {"onlineReadSeconds": 5}}}},
            "/monitoring/alerts/thresholds/onlineReadSeconds",
        ),
    ],
)
def test_a_value_outside_of_the_schema_is_refused_by_name(chart: helm.Chart, given: dict, said: str):
    with pytest.raises(helm.HelmError) as refused:
        chart.render(given, name="windtunnel", namespace="windtunnel")
    text = str(refused.value)
    assert said in text or said.strip("/").replace("/", ".") in text, text


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"postgres": {"enabled": False}},
            "postgres.external.host: is empty while postgres.enabled is false",
        ),
        ({"postgres": {"external": {"host": "db"}}}, "set postgres.enabled=false to use that Postgres"),
        (
            {"postgres": {"enabled": False, "external": {"host": "db"}}},
            "postgres.external.existingSecret: is empty",
        ),
        ({"valkey": {"enabled": False}}, "valkey.external.host: is empty while valkey.enabled is false"),
        ({"valkey": {"external": {"host": "redis"}}}, "set valkey.enabled=false to use that server"),
        (
            {"valkey": {"enabled": False, "external": {"host": "r"}}},
            "valkey.external.existingSecret: is empty",
        ),
        ({"objectStore": {"enabled": False}}, "objectStore.external.existingSecret: is empty"),
        (
            {"objectStore": {"external": {"endpoint": "https://s3"}}},
            "set objectStore.enabled=false to use that store",
        ),
        ({"airflow": {"dags": {"git": {"enabled": True}}}}, "airflow.dags.git.repo: is empty"),
        ({"airflow": {"dags": {"git": {"repo": "https://g"}}}}, "set airflow.dags.git.enabled=true"),
        (
            {"stages": {"namespace": {"name": "windtunnel"}}},
            "stages.namespace.name: is the release's own namespace",
        ),
        ({"stages": {"env": {"DB_PASSWORD": "x"}}}, "stages.env.DB_PASSWORD: looks like a secret"),
        (
            {"stages": {"classes": {"small": {"env": {"API_TOKEN": "x"}}}}},
            "stages.classes.small.env.API_TOKEN",
        ),
        (
            {"stages": {"classes": {"small": {"image": "team/stage"}}}},
            "stages.classes.small.image: team/stage has no tag",
        ),
        ({"stages": {"classes": {"small": {"image": "a/b:latest"}}}}, "the tag latest moves"),
        ({"airflow": {"env": {"AIRFLOW__CORE__FERNET_KEY": "x"}}}, "looks like a secret"),
        (
            {"grafana": {"enabled": True}, "prometheus": {"enabled": False}},
            "grafana.prometheusUrl: is empty while prometheus.enabled is false",
        ),
        (
            {"prometheus": {"alertmanagers": ["a:9093"]}, "monitoring": {"alerts": {"enabled": False}}},
            "prometheus.alertmanagers: are given while monitoring.alerts.enabled is false",
        ),
        (
            {"monitoring": {"operator": {"enabled": True}}},
            "monitoring.scrapeFrom: is empty while monitoring.operator.enabled is true",
        ),
        (
            {
                "exporter": {"refreshSeconds": 300},
                "monitoring": {"alerts": {"thresholds": {"exporterAge": 599}}},
            },
            "monitoring.alerts.thresholds.exporterAge: is less than twice exporter.refreshSeconds",
        ),
        (
            {"monitoring": {"alerts": {"thresholds": {"skew": None}}}},
            "monitoring.alerts.thresholds.skew: is null; give a number, or add WindtunnelTrainingServingSkew",
        ),
        (
            {"monitoring": {"alerts": {"disabled": ["WindtunnelNoise"]}}},
            "there is no alert WindtunnelNoise; docs/runbooks lists them",
        ),
    ],
)
def test_contradictory_values_fail_with_how_to_mend_them(chart: helm.Chart, given: dict, said: str):
    with pytest.raises(helm.HelmError, match=re.escape(said)):
        chart.render(given, name="windtunnel", namespace="windtunnel")


def test_notes_say_what_to_do_next(chart: helm.Chart):
    notes = chart.render({}, name="windtunnel", namespace="windtunnel")["windtunnel/templates/NOTES.txt"]
    for command in (
        "port-forward svc/windtunnel-airflow-api-server",
        "get secret windtunnel-airflow-admin",
        "get servedmodels",
    ):
        assert command in notes

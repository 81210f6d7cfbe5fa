"""The alerts that ship are valid, fire when they should, resolve, and each has its runbook."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from tests.chart.alert_cases import CASES, THRESHOLDS
from tests.chart.known_metrics import known, unknown
from tests.chart.promtool import promtool

if TYPE_CHECKING:
    from tests.chart.alert_cases import Case
    from tests.chart.conftest import Render

ROOT = Path(__file__).parents[2]
RUNBOOKS = ROOT / "docs/runbooks"


def rule_file(objects: list[dict[str, Any]]) -> dict[str, Any]:
    """The rules that the release's own Prometheus reads."""
    [config] = [
        o for o in objects if o["kind"] == "ConfigMap" and o["metadata"]["name"].endswith("-prometheus")
    ]
    return yaml.safe_load(config["data"]["alerts.yml"])


def alerts_of(rules: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {rule["alert"]: rule for group in rules["groups"] for rule in group["rules"]}


@pytest.fixture(scope="module")
def rules(default_objects) -> dict[str, Any]:
    return rule_file(default_objects)


@pytest.fixture(scope="module")
def alerts(rules) -> dict[str, dict[str, Any]]:
    return alerts_of(rules)


@pytest.mark.parametrize("variant", ["default", "all-options"])
def test_prometheus_takes_its_configuration_and_its_rules(render: Render, tmp_path: Path, variant: str):
    [config] = [
        o
        for o in render(variant=variant)
        if o["kind"] == "ConfigMap" and o["metadata"]["name"].endswith("-prometheus")
    ]
    (tmp_path / "alerts.yml").write_text(config["data"]["alerts.yml"])
    configuration = yaml.safe_load(
        config["data"]["prometheus.yml"].replace("/etc/prometheus/", f"{tmp_path}/")
    )
    # Debian's promtool knows nothing of Kubernetes: its pods are found in a file instead.
    for scraped in configuration["scrape_configs"]:
        if scraped.pop("kubernetes_sd_configs", None):
            scraped["static_configs"] = [{"targets": ["pod:8080"]}]
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(configuration))
    promtool("check", "config", str(tmp_path / "prometheus.yml"))
    promtool("check", "rules", str(tmp_path / "alerts.yml"))


def test_each_alert_fires_and_resolves(render: Render, tmp_path: Path):
    """Summaries are compared word for word; descriptions are left to `promtool check rules`."""
    rules = rule_file(render({"monitoring": {"alerts": {"thresholds": THRESHOLDS}}}))
    # A file for each group and step: promtool judges every rule of a file at every step of every case.
    files: dict[tuple[str, int], list[dict[str, Any]]] = {}
    group_of = {}
    for group in rules["groups"]:
        (tmp_path / f"{group['name']}.yml").write_text(yaml.safe_dump({"groups": [summarized(group)]}))
        group_of |= dict.fromkeys(alerts_of({"groups": [group]}), group["name"])
    for case in CASES:
        files.setdefault((group_of[case.alert], case.step), []).append(promtool_test(case))
    for (group, step), tests in files.items():
        cases = {"rule_files": [f"{group}.yml"], "evaluation_interval": f"{step}m", "tests": tests}
        (tmp_path / f"cases-{group}-{step}.yml").write_text(yaml.safe_dump(cases))
    promtool("test", "rules", *map(str, sorted(tmp_path.glob("cases-*.yml"))))


def summarized(group: dict[str, Any]) -> dict[str, Any]:
    """The group, each alert with its summary alone."""
    rules = [rule | {"annotations": {"summary": rule["annotations"]["summary"]}} for rule in group["rules"]]
    return group | {"rules": rules}


def promtool_test(case: Case) -> dict[str, Any]:
    """The case as promtool's unit tests have it."""
    rings = {
        "exp_labels": {"severity": case.severity, **case.labels},
        "exp_annotations": {"summary": case.summary},
    }
    expected: dict[int, list[dict[str, Any]]] = {case.quiet: [], case.fires: [rings], case.ends: []}
    return {
        "name": case.alert,
        "interval": f"{case.step}m",
        "input_series": [{"series": name, "values": values} for name, values in case.input.items()],
        "alert_rule_test": [
            {"eval_time": f"{minute}m", "alertname": case.alert, "exp_alerts": alerts}
            for minute, alerts in expected.items()
        ],
    }


def test_every_alert_has_a_case(alerts):
    assert {case.alert for case in CASES} == set(alerts)


def test_every_alert_waits_and_says_how_bad_it_is_and_what_it_is_about(alerts):
    for name, alert in alerts.items():
        assert re.fullmatch(r"Windtunnel[A-Za-z]+", name)
        assert re.fullmatch(r"[0-9]+[mhd]", alert["for"]), name
        assert alert["labels"]["severity"] in {"info", "warning", "critical"}, name
        assert {"summary", "description", "runbook_url"} == set(alert["annotations"]), name
        if "lifecycle" in alert["expr"].split("by", 1)[-1].partition(")")[0]:
            assert "{{ $labels.lifecycle }}" in alert["annotations"]["summary"] or name in {
                "WindtunnelStagesFailEverywhere", "WindtunnelTargetDown",
            }, name  # fmt: skip


def test_every_alert_has_a_runbook_and_every_runbook_an_alert(alerts):
    linked = {alert["annotations"]["runbook_url"].rpartition("/")[2] for alert in alerts.values()}
    assert linked == {page.name for page in RUNBOOKS.glob("*.md")} - {"README.md"}
    listed = (RUNBOOKS / "README.md").read_text()
    for name, alert in alerts.items():
        page = alert["annotations"]["runbook_url"].rpartition("/")[2]
        text = (RUNBOOKS / page).read_text()
        assert name in text, f"{page} does not name its alert"
        assert f"({page})" in listed, f"docs/runbooks/README.md does not list {page}"
        for part in ("## What it means", "## Look", "## Mend"):
            assert part in text, f"{page} lacks {part!r}"


def test_what_runbooks_lead_to_is_there():
    for page in RUNBOOKS.glob("*.md"):
        for target in re.findall(r"\]\(([^)#:]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_operator_gets_the_same_rules(render: Render, rules):
    objects = render({"monitoring": {"operator": {"enabled": True}, "scrapeFrom": [{"podSelector": {}}]}})
    [rule] = [o for o in objects if o["kind"] == "PrometheusRule"]
    assert rule["spec"] == rules


def test_values_shape_the_alerts(render: Render):
    shaped = alerts_of(
        rule_file(
            render(
                {
                    "monitoring": {
                        "alerts": {
                            "runbooks": "https://wiki.example.com",
                            "labels": {"team": "ml"},
                            "disabled": ["WindtunnelDrift"],
                            "thresholds": {"servingErrors": 0.2, "monitorAge": 7200000},
                        }
                    }
                }
            )
        )
    )
    assert "WindtunnelDrift" not in shaped
    errors = shaped["WindtunnelServingErrors"]
    assert errors["labels"] == {"severity": "critical", "team": "ml"}
    assert errors["annotations"]["runbook_url"] == "https://wiki.example.com/serving-errors.md"
    assert errors["expr"].endswith("> 0.2")
    assert shaped["WindtunnelMonitorLate"]["expr"].endswith("> 7200000")
    assert rule_file(render({"monitoring": {"alerts": {"enabled": False}}})) == {"groups": []}


def test_without_the_statsd_exporter_no_alert_waits_for_its_metrics(render: Render, alerts):
    left = alerts_of(rule_file(render({"statsdExporter": {"enabled": False}})))
    assert set(alerts) - set(left) == {name for name, alert in alerts.items() if "airflow_" in alert["expr"]}
    assert "WindtunnelSchedulerSilent" not in left


def test_every_threshold_is_used_and_every_one_used_is_there(chart_directory: Path, rules):
    given = yaml.safe_load((chart_directory / "values.yaml").read_text())["monitoring"]["alerts"][
        "thresholds"
    ]
    files = "".join(file.read_text() for file in (chart_directory / "alerts").glob("*.yaml"))
    assert set(re.findall(r"\$\{(\w+)\}", files)) - {"name"} == set(given)
    assert "${" not in yaml.safe_dump(rules)


def test_alerts_look_at_what_somebody_counts(rules):
    metrics = known()
    for group in rules["groups"]:
        for rule in group["rules"]:
            assert unknown(rule["expr"], metrics) == [], rule


def test_cases_have_the_labels_that_somebody_gives():
    metrics = known()
    for case in CASES:
        for series_ in case.input:
            assert unknown(series_, metrics) == [], case.alert

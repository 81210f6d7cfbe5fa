"""The dashboards that ship are what the code makes, and ask only for what is counted.

That every query has an answer on a live Prometheus is the cluster test's to show.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
import yaml
from dev.dashboards.__main__ import main as generate
from dev.dashboards.queries import DIRECTORY, queries
from tests.chart.known_metrics import known, unknown
from tests.chart.promtool import promtool

if TYPE_CHECKING:
    from pathlib import Path

DASHBOARDS = {file.stem: json.loads(file.read_text()) for file in sorted(DIRECTORY.glob("*.json"))}


def panels(dashboard: dict) -> list[dict]:
    flat = [one for panel in dashboard["panels"] for one in [panel, *panel.get("panels", [])]]
    return [panel for panel in flat if panel["type"] != "row"]


@pytest.fixture(params=DASHBOARDS)
def dashboard(request: pytest.FixtureRequest) -> dict:
    return DASHBOARDS[request.param]


def test_the_files_are_the_ones_that_the_code_makes(tmp_path: Path):
    generate(tmp_path)
    made = {file.name: file.read_text() for file in tmp_path.iterdir()}
    assert made == {file.name: file.read_text() for file in DIRECTORY.iterdir()}, "run `make generate`"
    assert sorted(made) == ["fleet.json", "lifecycle.json", "platform.json", "serving.json"]


def test_dashboards_are_found_and_lead_to_each_other():
    assert len({one["uid"] for one in DASHBOARDS.values()}) == len(DASHBOARDS)
    for one in DASHBOARDS.values():
        assert one["uid"].startswith("windtunnel-")
        assert one["tags"] == ["windtunnel"]
        assert [link["tags"] for link in one["links"]] == [["windtunnel"]]
    led_to = re.findall(r"/d/([\w-]+)", json.dumps(DASHBOARDS))
    assert led_to
    assert set(led_to) <= {one["uid"] for one in DASHBOARDS.values()}


def test_every_panel_says_what_it_shows_and_asks_the_chosen_prometheus(dashboard: dict):
    titles = [panel["title"] for panel in panels(dashboard)]
    for panel in panels(dashboard):
        assert len(panel["description"]) > 5, panel["title"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert panel["targets"], panel["title"]
        refs = [target["refId"] for target in panel["targets"]]
        assert len(refs) == len(set(refs)), panel["title"]
    assert len(titles) >= 10


def test_no_two_panels_lie_on_each_other(dashboard: dict):
    taken = {}
    for panel in dashboard["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24, panel["title"]
        for x in range(at["x"], at["x"] + at["w"]):
            for y in range(at["y"], at["y"] + at["h"]):
                assert (x, y) not in taken, (panel["title"], taken.get((x, y)))
                taken[x, y] = panel["title"]


def test_queries_use_the_variables_that_the_dashboard_has(dashboard: dict):
    has = {variable["name"] for variable in dashboard["templating"]["list"]}
    uses = set(re.findall(r"\$(\w+)", " ".join(t["expr"] for p in panels(dashboard) for t in p["targets"])))
    assert {name for name in uses if not name.startswith("__")} <= has
    assert has >= {"datasource", "namespace"}


def test_every_query_of_every_panel_and_variable_is_listed_ready_to_be_asked():
    listed = queries(namespace="team-a", lifecycle="prices")
    asked = sum(len(panel["targets"]) for one in DASHBOARDS.values() for panel in panels(one))
    variables = sum(
        variable["type"] == "query" for one in DASHBOARDS.values() for variable in one["templating"]["list"]
    )
    assert len(listed) == asked + variables
    assert not [query for query in listed if "$" in query.expr]
    assert any('namespace=~"team-a", lifecycle=~"prices"' in query.expr for query in listed)


def test_a_panel_says_none_only_when_there_is_nothing_else(tmp_path: Path):
    [champion] = [q.expr for q in queries() if (q.dashboard, q.panel) == ("lifecycle", "Champion")]
    info = {
        "series": 'windtunnel_model_info{namespace="windtunnel", lifecycle="flight_delay", '
        'role="champion", version="3"}',
        "values": "1x10",
    }

    def shows(version: str, value: int, *series: dict[str, str]) -> dict:
        samples = [{"labels": f'{{version="{version}"}}', "value": value}]
        asked = {"expr": champion, "eval_time": "5m", "exp_samples": samples}
        return {"interval": "1m", "input_series": list(series), "promql_expr_test": [asked]}

    (tmp_path / "tests.yml").write_text(yaml.safe_dump({"tests": [shows("3", 1, info), shows("none", 0)]}))
    promtool("test", "rules", str(tmp_path / "tests.yml"))


def test_every_query_is_a_query(tmp_path: Path):
    rules = [{"record": f"query:{index}", "expr": query.expr} for index, query in enumerate(queries())]
    (tmp_path / "queries.yml").write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": rules}]}))
    promtool("check", "rules", str(tmp_path / "queries.yml"))


def test_panels_ask_for_what_somebody_counts():
    metrics = known()
    for query in queries():
        assert unknown(query.expr, metrics) == [], (query.dashboard, query.panel)

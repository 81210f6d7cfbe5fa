"""Every query of the dashboards that ship, as a Prometheus takes it; read from their JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

DIRECTORY = Path(__file__).parents[2] / "charts/windtunnel/dashboards"


@dataclass(frozen=True)
class Query:
    """What a panel, or a variable of the dashboard (`$name`), asks."""

    dashboard: str
    panel: str
    expr: str


def queries(
    namespace: str = "windtunnel", lifecycle: str = "flight_delay", range_: str = "1h", rate: str = "5m"
) -> list[Query]:
    """All of them, for one release and lifecycle; `range_` and `rate` stand for what Grafana would show."""
    values = {
        "$namespace": namespace,
        "$lifecycle": lifecycle,
        "$__rate_interval": rate,
        "$__range": range_,
    }
    found = []
    for file in sorted(DIRECTORY.glob("*.json")):
        for panel, expr in _asked(json.loads(file.read_text())):
            for name, value in values.items():
                expr = expr.replace(name, value)
            found.append(Query(file.stem, panel, expr))
    return found


def _asked(dashboard: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for panel in dashboard["panels"]:
        for one in [panel, *panel.get("panels", [])]:
            for target in one.get("targets", []):
                yield one["title"], target["expr"]
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            selector = variable["query"]["query"].removeprefix("label_values(").rpartition(",")[0]
            yield f"${variable['name']}", selector

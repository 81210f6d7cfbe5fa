"""Which metrics there are, with their labels, from those who make them; and what a query names of them."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from windtunnel.exporter.metrics import METRICS
from windtunnel.serving.metrics import Metrics

CHART = Path(__file__).parents[2] / "charts/windtunnel"
# Given by whoever scrapes: see test_monitoring.py. `le` belongs to every histogram.
OF_THE_TARGET = {"namespace", "pod", "component", "job", "lifecycle", "served_model", "le"}
# Prometheus' own, and those of its Python client.
FOREIGN = {
    "ALERTS": {"alertname", "alertstate", "severity"},
    "up": set(),
    "scrape_duration_seconds": set(),
    "scrape_samples_scraped": set(),
    "prometheus_tsdb_head_series": set(),
    "process_resident_memory_bytes": set(),
    "process_cpu_seconds_total": set(),
}
_NAMED = re.compile(r"\b((?:windtunnel|airflow|process|prometheus|scrape)_\w+|up|ALERTS)\b(?:\{([^}]*)\})?")
_LABEL = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"")


def known() -> dict[str, set[str]]:
    """Labels by metric; those of Airflow are free, its tags make them."""
    found = {name: set(metric.labels) for name, metric in METRICS.items()}
    serving = Metrics()
    serving.of("flight_delay", "1", "champion").answered(200, seconds=0.001)
    for collector, names in serving.registry._collector_to_names.items():
        found |= {name: set(getattr(collector, "_labelnames", ())) for name in names}
    for family in serving.registry.collect():
        found |= {sample.name: set(sample.labels) for sample in family.samples if sample.name not in found}
    for family in serving.predictions.collect():
        found[f"{family.name}_bucket"] = {"model", "version", "role"}
    mapping = yaml.safe_load((CHART / "files/statsd-mapping.yaml").read_text())
    for entry in mapping["mappings"]:
        for suffix in ("", "_bucket", "_sum", "_count"):
            found[entry["name"] + suffix] = {"dag_id", "task_id", "state", "status", "pool_name", "reason"}
    return found | FOREIGN


def named(expr: str) -> list[tuple[str, set[str]]]:
    """(metric, labels that it is selected by) for each metric in a query."""
    return [(name, set(_LABEL.findall(selected or ""))) for name, selected in _NAMED.findall(expr)]


def unknown(expr: str, metrics: dict[str, set[str]]) -> list[str]:
    """What the query names and nobody makes."""
    found = []
    for name, labels in named(expr):
        if name not in metrics:
            found.append(name)
        else:
            found += [f"{name}.{label}" for label in labels - metrics[name] - OF_THE_TARGET]
    return found

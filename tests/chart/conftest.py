"""Rendering of the chart without a cluster: `lookup` finds nothing, as on a first install."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import helm_python as helm
import pytest
import yaml

CHART = Path(__file__).parents[2] / "charts/windtunnel"
Object = dict[str, Any]
Render = Callable[..., list[Object]]

# Values files that must render, and be valid.
VARIANTS: dict[str, list[Path]] = {
    "default": [],
    "all-options": [CHART / "ci/all-options-values.yaml"],
    "external": [CHART / "ci/external-values.yaml"],
    "dev": [CHART.parents[1] / "dev/values-dev.yaml"],
}


def merge(into: Object, extra: Object) -> Object:
    """`into` with `extra` over it, as helm merges values files."""
    merged = copy.deepcopy(into)
    for key, value in extra.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(value, dict) and isinstance(old, dict) else value
    return merged


@pytest.fixture(scope="session")
def chart_directory() -> Path:
    return CHART


@pytest.fixture(scope="session")
def chart() -> Iterator[helm.Chart]:
    with helm.Chart.load(CHART) as chart:
        yield chart


@pytest.fixture(scope="session")
def render(chart: helm.Chart) -> Render:
    """render(values, variant=…, release=…) -> objects, each with its template as `_template`."""

    def rendered(
        values: Object | None = None,
        variant: str = "default",
        release: str = "windtunnel",
        namespace: str = "windtunnel",
    ) -> list[Object]:
        merged: Object = {}
        for file in VARIANTS[variant]:
            merged = merge(merged, yaml.safe_load(file.read_text()))
        merged = merge(merged, values or {})
        # Rendering alone does not look at the schema; an install does.
        chart.validate_schema(merged)
        objects = []
        for template, text in sorted(chart.render(merged, name=release, namespace=namespace).items()):
            if not template.endswith((".yaml", ".yml")):
                continue
            # In C: the dashboards are long.
            for item in yaml.load_all(text, Loader=yaml.CSafeLoader):
                if item:
                    item["_template"] = template.removeprefix("windtunnel/templates/")
                    objects.append(item)
        return objects

    return rendered


@pytest.fixture(scope="session", params=sorted(VARIANTS))
def objects(request: pytest.FixtureRequest, render: Render) -> list[Object]:
    """What each variant renders to."""
    return render(variant=request.param)


@pytest.fixture(scope="session")
def default_objects(render: Render) -> list[Object]:
    return render()


def pods_of(objects: list[Object]) -> dict[str, Object]:
    """Every pod that the chart starts or has started, by name; stage classes as `stage/<class>`."""
    pods: dict[str, Object] = {}
    for item in objects:
        if item["kind"] in {"Deployment", "StatefulSet", "Job"}:
            pods[item["metadata"]["name"]] = item["spec"]["template"]
        elif item["kind"] == "CronJob":
            pods[item["metadata"]["name"]] = item["spec"]["jobTemplate"]["spec"]["template"]
        elif item["kind"] == "ConfigMap" and item["metadata"]["name"].endswith("pod-templates"):
            for file, text in item["data"].items():
                if file.endswith(".yaml"):
                    pods[f"stage/{file.removesuffix('.yaml')}"] = yaml.safe_load(text)
    return pods


@pytest.fixture(scope="session")
def pods(objects: list[Object]) -> dict[str, Object]:
    return pods_of(objects)


@pytest.fixture(scope="session")
def default_pods(default_objects: list[Object]) -> dict[str, Object]:
    return pods_of(default_objects)

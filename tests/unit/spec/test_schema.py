from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from windtunnel.spec.loading import find_lifecycles
from windtunnel.spec.schema import lifecycle_schema, render

ROOT = Path(__file__).parents[3]


def test_the_published_schema_is_current() -> None:
    published = (ROOT / "docs" / "lifecycle.schema.json").read_text()
    assert published == render(), "run: python -m windtunnel.spec.schema > docs/lifecycle.schema.json"


def test_every_object_of_the_schema_is_closed() -> None:
    definitions = lifecycle_schema()["$defs"]
    assert all(one["additionalProperties"] is False for one in definitions.values() if "properties" in one)


def test_every_property_is_in_camel_case_and_the_schema_names_no_python() -> None:
    assert "_" not in "".join(
        name for one in lifecycle_schema()["$defs"].values() for name in one["properties"]
    )


@pytest.mark.parametrize("directory", find_lifecycles(ROOT / "dags" / "lifecycles"), ids=lambda d: d.name)
def test_the_examples_keep_the_schema(directory: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    value = yaml.safe_load((directory / "lifecycle.yaml").read_text())
    jsonschema.validate(json.loads(json.dumps(value)), lifecycle_schema())


def test_importing_the_spec_stays_light() -> None:
    heavy = ["airflow", "feast", "mlflow", "numpy", "obstore", "pandas", "polars", "sklearn"]
    code = f"import sys, windtunnel.spec; print([name for name in {heavy} if name in sys.modules])"
    path = str(ROOT / "platform" / "src")
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, env={"PYTHONPATH": path}, check=True)
    assert done.stdout.strip() == "[]"

"""Airflow without an installation, a lifecycle, and a stand-in for the stage environment's interpreter."""

from __future__ import annotations

import json
import os
import stat
import sys
import tempfile
from typing import TYPE_CHECKING

import pytest

from windtunnel.airflow import stage_classes

if TYPE_CHECKING:
    from pathlib import Path

# Airflow reads these when it is imported, which the test modules do while they are collected.
os.environ.setdefault("AIRFLOW_HOME", tempfile.mkdtemp(prefix="windtunnel-airflow-"))
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] = f"sqlite:///{os.environ['AIRFLOW_HOME']}/airflow.db"

LIFECYCLE = """\
apiVersion: windtunnel.dev/v1alpha1
kind: Lifecycle
metadata: {name: NAME, owner: wind-team, description: Will the wind turn?}
spec:
  sources:
    gusts: {uri: "sources/gusts/{date}.parquet", schema: "features:Gusts"}
  features:
    schedule: "0 3 * * 1"
    transform: features:transform
    views: [tower, hour]
    service: wind
    sliceDays: 7
    materializeSliceDays: 60
  label: {rows: "features:entity_rows", column: turned, kind: binary}
  training: {function: "train:train"}
  scoring: {shards: 3}
  stages:
    train: {class: large, timeout: 2h, retries: 3}
"""
FEATURES = """\
Gusts = None
def transform(partitions, day): ...
def entity_rows(partitions, day): ...
"""
TRAIN = "def train(features, label): ...\n"

# Called as the stage environment's python is: -m windtunnel.stages STAGE --request FILE --result FILE.
STAGE_PYTHON = """\
#!{python}
import json, os, sys
stage, asked, answered = sys.argv[3], sys.argv[5], sys.argv[7]
request = json.load(open(asked))
def answer(value):
    with open(answered, "w") as file:
        json.dump(value, file)
def result(facts=None, **outputs):
    references = {{name: {{"kind": name, "uri": "s3://b/" + name, "digest": "sha256:0"}} for name in outputs}}
    answer({{"outputs": references, "facts": facts or {{}}, "cached": False}})
exec(os.environ["WINDTUNNEL_TEST_STAGE"])
"""


def write_lifecycle(directory: Path, name: str = "wind", text: str = LIFECYCLE) -> Path:
    """A lifecycle's directory below `directory`."""
    lifecycle = directory / name
    lifecycle.mkdir(parents=True)
    (lifecycle / "lifecycle.yaml").write_text(text.replace("NAME", name))
    (lifecycle / "features.py").write_text(FEATURES)
    (lifecycle / "train.py").write_text(TRAIN)
    return lifecycle


def on_drift(directory: Path, schedule: str = "features") -> None:
    """Let the lifecycle there train on its schedule (YAML) and when drift lasts."""
    path = directory / "lifecycle.yaml"
    text = path.read_text().replace(
        'function: "train:train"', f'function: "train:train", schedule: {schedule}'
    )
    path.write_text(text + '  monitoring: {schedule: "@hourly", retrain: {onDrift: true}}\n')


@pytest.fixture
def lifecycles(tmp_path: Path) -> Path:
    write_lifecycle(tmp_path / "lifecycles")
    return tmp_path / "lifecycles"


@pytest.fixture
def stage_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the chart's stage classes are, instead of /opt/windtunnel; empty at first."""
    directory = tmp_path / "pod-templates"
    directory.mkdir()
    monkeypatch.setattr(stage_classes, "DIRECTORY", directory)
    return directory


def write_stage_classes(directory: Path, **slots: int) -> None:
    """A template for each class, and their pools, as the chart renders them."""
    for name in slots:
        (directory / f"{name}.yaml").touch()
    pools = {
        f"stage-{name}": {"slots": number, "description": name, "include_deferred": False}
        for name, number in slots.items()
    }
    (directory / "pools.json").write_text(json.dumps(pools))


class StagePython:
    """A program in the place of the stage environment's python that does what a test tells it to."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = path
        self._monkeypatch = monkeypatch
        path.write_text(STAGE_PYTHON.format(python=sys.executable))
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("WINDTUNNEL_STAGE_PYTHON", str(path))

    def does(self, code: str) -> None:
        """Python code that sees `stage`, `request`, `answer(value)` and `result(facts, **outputs)`."""
        self._monkeypatch.setenv("WINDTUNNEL_TEST_STAGE", code)


@pytest.fixture
def stage_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StagePython:
    return StagePython(tmp_path / "stage-python", monkeypatch)

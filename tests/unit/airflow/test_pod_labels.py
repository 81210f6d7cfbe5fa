from __future__ import annotations

import importlib.util
import logging
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import windtunnel.airflow
from windtunnel.airflow.pod_labels import pod_labels, pod_mutation_hook
from windtunnel.spec import load_lifecycle
from windtunnel.spec.stages import RETAIN_DAG


def pod(**annotations: str) -> Any:
    return SimpleNamespace(metadata=SimpleNamespace(annotations=annotations, labels={"kept": "yes"}))


def test_a_worker_pod_says_lifecycle_stage_and_spec(lifecycles: Path) -> None:
    labels = pod_labels({"dag_id": "wind__features", "task_id": "materialize.tower"}, lifecycles)
    digest = load_lifecycle(lifecycles / "wind").digest
    assert labels == {
        "windtunnel.dev/lifecycle": "wind",
        "windtunnel.dev/stage": "materialize",
        "windtunnel.dev/spec": digest.removeprefix("sha256:")[:16],
    }
    assert all(
        re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?", value) for value in labels.values()
    )


def test_a_task_of_the_dag_for_all_says_whose_it_is(lifecycles: Path) -> None:
    labels = pod_labels({"dag_id": RETAIN_DAG, "task_id": "retain.wind"}, lifecycles)
    assert (labels["windtunnel.dev/lifecycle"], labels["windtunnel.dev/stage"]) == ("wind", "retain")
    assert pod_labels({"dag_id": RETAIN_DAG, "task_id": "retain.gone"}, lifecycles) == {}


def test_another_spec_has_another_label(lifecycles: Path) -> None:
    annotations = {"dag_id": "wind__train", "task_id": "train"}
    before = pod_labels(annotations, lifecycles)
    path = lifecycles / "wind" / "lifecycle.yaml"
    path.write_text(path.read_text().replace("shards: 3", "shards: 4"))
    assert pod_labels(annotations, lifecycles) != before


@pytest.mark.parametrize("dag_id", ["somebody_elses", "other__train", ""])
def test_other_dags_pods_are_left_alone(lifecycles: Path, dag_id: str) -> None:
    assert pod_labels({"dag_id": dag_id, "task_id": "train"}, lifecycles) == {}


def test_the_hook_adds_to_the_labels(lifecycles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WINDTUNNEL_LIFECYCLES", str(lifecycles))
    worker = pod(dag_id="wind__train", task_id="train")
    pod_mutation_hook(worker)
    assert worker.metadata.labels["kept"] == "yes"
    assert worker.metadata.labels["windtunnel.dev/stage"] == "train"


def test_a_broken_spec_does_not_keep_a_pod_from_being_made(
    lifecycles: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("WINDTUNNEL_LIFECYCLES", str(lifecycles))
    (lifecycles / "wind" / "lifecycle.yaml").write_text("kind: [")
    worker = pod(dag_id="wind__train", task_id="train")
    with caplog.at_level(logging.WARNING):
        pod_mutation_hook(worker)
    assert worker.metadata.labels == {"kept": "yes"}
    assert "no windtunnel.dev labels" in caplog.text


def test_airflow_finds_the_hook_by_its_name() -> None:
    path = Path(windtunnel.airflow.__path__[0]) / "config" / "airflow_local_settings.py"
    spec = importlib.util.spec_from_file_location("airflow_local_settings", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.pod_mutation_hook is pod_mutation_hook
    assert "pod_mutation_hook" in module.__all__

"""What a stage pod imports before there is work to do: every stage of every run pays for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from windtunnel.spec.stages import STAGES

ROOT = Path(__file__).parents[3]
# Seconds of CPU each, or tens of megabytes.
LIBRARIES = {
    "boto3", "dask", "feast", "kubernetes", "matplotlib", "mlflow", "onnx", "pandas", "pandera", "pyarrow",
    "redis", "rich.console", "skl2onnx", "sklearn", "skops", "typeguard",
}  # fmt: skip
NUMERICAL = {"numpy", "onnxruntime", "polars", "scipy"}
AIRFLOWS_CORE = {
    "airflow.api_fastapi.app", "airflow.executors", "airflow.models", "airflow.providers_manager",
    "airflow.serialization.serialized_objects", "alembic", "fastapi", "flask", "libcst", "sqlalchemy",
    "starlette",
}  # fmt: skip

# What Airflow's SDK itself imports for little.
SDKS_OWN = {"arrow", "fsspec", "jsonschema", "upath"}

# The worker up to where it asks Airflow's API, then what the task's process does: reads the DAG file.
WORKER = """\
import json, sys
from windtunnel.airflow.worker import stand_ins, tested
tested.check_versions()
stand_ins.install()
tested.check_settings()
import windtunnel.airflow.worker.supervise
from airflow.sdk.log import load_remote_log_handler
assert load_remote_log_handler() is not None
from airflow.sdk.execution_time.supervisor import ensure_secrets_backend_loaded
assert ensure_secrets_backend_loaded()
worker = set(sys.modules)
from airflow.dag_processing.bundles.manager import DagBundlesManager
from airflow.dag_processing.dagbag import BundleDagBag
bundle = DagBundlesManager().get_bundle("dags-folder")
bundle.initialize()
bag = BundleDagBag(str(bundle.path / "lifecycle_dags.py"), bundle_path=bundle.path)
assert sorted(bag.dags)[0] == "flight_delay__features"
print(json.dumps([sorted(worker), sorted(sys.modules)]))
try:
    from airflow.settings import Session
except ImportError as error:
    assert "set stages.worker to stock" in str(error), error
else:
    raise AssertionError("there is no session")
"""
STAGE = """\
import importlib, json, os, sys
import windtunnel.stages.__main__
for stage in sys.argv[1:]:
    if os.fork() == 0:
        importlib.import_module(f"windtunnel.stages.{stage}")
        print(json.dumps([stage, sorted(sys.modules)]), flush=True)
        os._exit(0)
    os.wait()
"""


def python(code: str, *arguments: str, **environ: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=os.environ | {"PYTHONPATH": str(ROOT / "platform" / "src")} | environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_lean_worker_and_its_dag_file_need_nothing_of_airflows_core(tmp_path: Path) -> None:
    answer = python(
        WORKER,
        AIRFLOW_HOME=str(tmp_path),
        AIRFLOW__CORE__DAGS_FOLDER=str(ROOT / "dags"),
        AIRFLOW__CORE__LOAD_EXAMPLES="False",
        AIRFLOW__LOGGING__LOGGING_CONFIG_CLASS="windtunnel.airflow.task_log.LOGGING_CONFIG",
        WINDTUNNEL_STORE=str(tmp_path / "store"),
    )
    worker, with_dags = (set(names) for names in json.loads(answer))
    heavy = LIBRARIES | NUMERICAL | AIRFLOWS_CORE | SDKS_OWN
    assert worker & heavy == set()
    assert with_dags & (heavy | {"obstore"}) == set()


@pytest.fixture(scope="module")
def imported() -> dict[str, set[str]]:
    """Modules, by stage, when the stage is imported and not yet called."""
    lines = python(STAGE, *STAGES, OMP_NUM_THREADS="1").splitlines()
    return {stage: set(names) for stage, names in map(json.loads, lines)}


@pytest.mark.parametrize("stage", sorted(STAGES))
def test_a_stage_imports_a_heavy_library_only_when_it_uses_it(
    stage: str, imported: dict[str, set[str]]
) -> None:
    assert imported[stage] & LIBRARIES == set()


def test_a_rollout_imports_nothing_numerical(imported: dict[str, set[str]]) -> None:
    assert imported["rollout"] & NUMERICAL == set()

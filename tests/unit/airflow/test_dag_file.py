"""dags/lifecycle_dags.py as the dag-processor reads it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from airflow.dag_processing.dagbag import DagBag

from .conftest import write_lifecycle

DAGS = Path(__file__).parents[3] / "dags"


def copy_dags(target: Path) -> Path:
    target.mkdir()
    for name in ("lifecycle_dags.py", ".airflowignore"):
        shutil.copy(DAGS / name, target / name)
    return target


# Airflow about itself, when it reads .airflowignore.
@pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning")
def test_only_the_dag_file_is_read_and_it_reads_the_lifecycles_beside_it(tmp_path: Path) -> None:
    folder = copy_dags(tmp_path / "dags")
    lifecycle = write_lifecycle(folder / "lifecycles")
    (lifecycle / "train.py").write_text("raise SystemExit('imported by airflow, which makes a dag of it')\n")
    bag = DagBag(folder, bundle_path=folder, bundle_name="dags-folder")
    assert bag.import_errors == {}
    # `train` is not defined by that file, which the spec says it is.
    assert bag.dag_ids == ["wind__broken"]
    (lifecycle / "train.py").write_text("def train(features, label): ...\n")
    bag = DagBag(folder, bundle_path=folder, bundle_name="dags-folder")
    names = ["wind__features", "wind__monitor", "wind__score", "wind__train", "windtunnel__retain"]
    assert sorted(bag.dag_ids) == names
    assert {dag.relative_fileloc for dag in bag.dags.values()} == {"lifecycle_dags.py"}

"""Fixtures of unit tests: a lifecycle in a directory, an object store in another."""

from __future__ import annotations

import logging
import textwrap
from typing import TYPE_CHECKING

import pytest

from windtunnel.objects import ObjectStore, open_store
from windtunnel.settings import Settings
from windtunnel.spec import load_lifecycle
from windtunnel.stages.base import StageEnv

if TYPE_CHECKING:
    from pathlib import Path

LIFECYCLE = """\
apiVersion: windtunnel.dev/v1alpha1
kind: Lifecycle
metadata: {name: demo, owner: tests}
spec:
  sources:
    orders: {uri: "sources/orders/{date}.parquet", schema: "features:Orders"}
  features: {transform: "features:transform", views: [customer, product], service: demo}
  label: {rows: "features:entity_rows", column: bought, kind: binary}
  training: {function: "train:train"}
"""
FEATURES = """\
class Orders: ...
def transform(partitions, day): ...
def entity_rows(partitions, day): ...
"""


@pytest.fixture
def lifecycle_directory(tmp_path: Path) -> Path:
    """`lifecycles/demo`: valid, with code that does nothing."""
    directory = tmp_path / "lifecycles" / "demo"
    directory.mkdir(parents=True)
    (directory / "lifecycle.yaml").write_text(LIFECYCLE)
    (directory / "features.py").write_text(textwrap.dedent(FEATURES))
    (directory / "train.py").write_text("def train(features, label): ...\n")
    return directory


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return open_store(str(tmp_path / "store"), {})


@pytest.fixture
def stage_env(lifecycle_directory: Path, store: ObjectStore, tmp_path: Path) -> StageEnv:
    work = tmp_path / "work"
    work.mkdir()
    return StageEnv(
        settings=Settings(store=str(tmp_path / "store"), lifecycles=lifecycle_directory.parent),
        store=store,
        lifecycle=load_lifecycle(lifecycle_directory),
        directory=lifecycle_directory,
        work=work,
        log=logging.getLogger("windtunnel.stage"),
    )

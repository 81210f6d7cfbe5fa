"""What all tests share: a folder is a kind of test, and marks its tests."""

from __future__ import annotations

import logging
import signal
import textwrap
from pathlib import Path

import prometheus_client  # noqa: F401 (chooses how it counts when it is imported: before Feast has a say)
import pytest
from hypothesis import HealthCheck, settings

from windtunnel.objects import ObjectStore, open_store
from windtunnel.settings import Settings
from windtunnel.spec import load_lifecycle
from windtunnel.stages.base import StageEnv

_ROOT = Path(__file__).parent
# The same examples on every machine, however slow it is.
settings.register_profile(
    "windtunnel",
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("windtunnel")

_MARKS = {"cluster": pytest.mark.cluster, "laptop": pytest.mark.slow}


# Under nohup, or in the background of a script, these come ignored, and what tests start would inherit that.
for _signum in (signal.SIGHUP, signal.SIGINT):
    if signal.getsignal(_signum) == signal.SIG_IGN:
        signal.signal(_signum, signal.default_int_handler if _signum == signal.SIGINT else signal.SIG_DFL)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        kind = item.path.relative_to(_ROOT).parts[0] if item.path.is_relative_to(_ROOT) else ""
        if kind in _MARKS:
            item.add_marker(_MARKS[kind])


@pytest.fixture(autouse=True)
def _one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Importing Feast sets this for its own server; Prometheus' client then warns of what it cannot do."""
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)


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

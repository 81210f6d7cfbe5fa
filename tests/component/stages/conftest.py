"""A small lifecycle with real code and snapshots made by hand, for the stages from train to rollout."""

from __future__ import annotations

import io
import logging
import shutil
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest

from windtunnel.digests import canonical_json, digest
from windtunnel.errors import WindtunnelError
from windtunnel.objects import ObjectStore, open_store
from windtunnel.registry.models import ModelRegistry
from windtunnel.settings import Settings
from windtunnel.spec import load_lifecycle
from windtunnel.stages.base import Reference, StageEnv, StageRequest, StageResult, execute

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LIFECYCLE = """\
apiVersion: windtunnel.dev/v1alpha1
kind: Lifecycle
metadata: {name: shop, owner: tests}
spec:
  sources:
    orders: {uri: "sources/orders/{date}.parquet", schema: "features:Orders"}
  features: {transform: "features:transform", views: [customer], service: shop, request: [hour]}
  label: {rows: "features:entity_rows", column: bought, kind: KIND}
  training: {function: "train:train"}
  evaluation: {metric: METRIC, gate: {mode: MODE, margin: 0.02}, slices: [region], minRows: 200}
"""
FEATURES = """\
from datetime import timedelta
import pandera.polars as pa
from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.types import Float64

class Orders(pa.DataFrameModel):
    customer: str

source = FileSource(
    name="rows", path="customer.parquet",
    timestamp_field="event_timestamp", created_timestamp_column="created",
)
customer = Entity(name="customer", join_keys=["customer"], value_type=ValueType.STRING)
view = FeatureView(
    name="customer", entities=[customer], ttl=timedelta(days=3), source=source,
    schema=[Field(name="spend", dtype=Float64), Field(name="visits", dtype=Float64)],
)
service = FeatureService(name="shop", features=[view])

def transform(partitions, day): ...
def entity_rows(partitions, day): ...
"""
TRAIN = """\
from sklearn.ensemble import HistGradientBoostingCLASS
def train(features, label):
    return HistGradientBoostingCLASS(max_iter=30, max_leaf_nodes=4, learning_rate=0.1).fit(features, label)
"""
NAMES = ["spend", "visits", "hour"]


@dataclass
class Shop:
    """The lifecycle in a directory, with everything that a stage needs, on this disk."""

    root: Path
    mlflow: Path
    kind: str = "binary"
    mode: str = "refresh"
    store: ObjectStore = field(init=False)

    def __post_init__(self) -> None:
        self.store = open_store(str(self.root / "store"), {})
        self.directory = self.root / "lifecycles" / "shop"
        self.directory.mkdir(parents=True)
        shutil.copy(self.mlflow, self.root / "mlflow.db")
        metric = "log_loss" if self.kind == "binary" else "squared_error"
        text = LIFECYCLE.replace("KIND", self.kind).replace("METRIC", metric).replace("MODE", self.mode)
        (self.directory / "lifecycle.yaml").write_text(text)
        (self.directory / "features.py").write_text(FEATURES)
        self.write_train(TRAIN)

    def write_train(self, code: str) -> None:
        estimator = "Classifier" if self.kind == "binary" else "Regressor"
        (self.directory / "train.py").write_text(code.replace("CLASS", estimator))
        sys.modules.pop("train", None)  # every stage has a process of its own; here they share one

    def env(self) -> StageEnv:
        work = self.root / "work"
        work.mkdir(exist_ok=True)
        return StageEnv(
            settings=Settings(
                store=str(self.root / "store"),
                lifecycles=self.directory.parent,
                tracking_uri=f"sqlite:///{self.root}/mlflow.db",
                served_models=str(self.root / "served"),
            ),
            store=self.store,
            lifecycle=load_lifecycle(self.directory),
            directory=self.directory,
            work=work,
            log=logging.getLogger("windtunnel.stage"),
        )

    def execute(
        self, stage: str, run_id: str = "run-1", params: dict[str, Any] | None = None, **inputs: Reference
    ) -> StageResult:
        request = StageRequest("shop", stage, run_id, params=params or {}, inputs=inputs)
        return execute(stage, request, self.env())

    def snapshot(
        self,
        seed: int = 0,
        rows: int = 3000,
        start: str = "2026-01-25",
        change: Callable[[pl.DataFrame], pl.DataFrame] | None = None,
    ) -> Reference:
        """A snapshot as its stage freezes it; `start` is the first day of its evaluation window."""
        frames = {
            "train.parquet": self._rows(np.random.default_rng(seed), rows),
            "evaluation.parquet": self._rows(np.random.default_rng(seed + 1000), rows),
        }
        if change:
            frames = {name: change(frame) for name, frame in frames.items()}
        files = {}
        for name, frame in frames.items():
            buffer = io.BytesIO()
            frame.write_parquet(buffer)
            files[name] = buffer.getvalue()
        manifest: dict[str, Any] = {
            "label": "bought",
            "features": NAMES,
            "slices": ["region"],
            "cutoff": start,
            "training": ["2026-01-01", "2026-01-23"],
            "evaluation": [start, "2026-01-31"],
            "files": {name: digest(data) for name, data in files.items()},
        }
        content = canonical_json(manifest)
        folder = f"shop/snapshots/{digest(content)[7:]}"
        for name, data in {**files, "manifest.json": content}.items():
            self.store.put(f"{folder}/{name}", data)
        return Reference("snapshot", self.store.uri(folder), digest(content), rows=2 * rows)

    def _rows(self, random: np.random.Generator, rows: int) -> pl.DataFrame:
        spend, visits = random.gamma(2.0, 10.0, rows), random.poisson(3, rows).astype(float)
        hour = random.integers(0, 24, rows).astype(float)
        score = (spend - 20) / 10 + (hour > 17) - 0.5
        if self.kind == "binary":
            bought = (random.random(rows) < 1 / (1 + np.exp(-score))).astype(float)
        else:
            bought = score + random.normal(0, 0.5, rows)
        return pl.DataFrame(
            {
                "customer": [f"c{number}" for number in random.integers(0, 500, rows)],
                "event_timestamp": pl.Series(
                    [datetime(2026, 1, 10, tzinfo=UTC)] * rows, dtype=pl.Datetime("us", "UTC")
                ),
                "region": random.choice(["north", "south"], rows),
                "spend": pl.Series(spend).set(pl.Series(random.random(rows) < 0.05), None),
                "visits": visits,
                "hour": hour,
                "bought": bought,
            }
        )

    def train(self, snapshot: Reference, run_id: str = "run-1") -> StageResult:
        return self.execute("train", run_id, snapshot=snapshot)

    def evaluate(self, snapshot: Reference, trained: StageResult, run_id: str = "run-1") -> StageResult:
        return self.execute("evaluate", run_id, snapshot=snapshot, **trained.outputs)

    def rollout(self, trained: StageResult, judged: StageResult, run_id: str = "run-1") -> StageResult:
        return self.execute("rollout", run_id, verdict=judged.outputs["verdict"], **trained.outputs)

    def promoted(self, seed: int = 0, run_id: str = "run-1") -> tuple[StageResult, StageResult]:
        """A version that went the whole way; returns what train and evaluate said."""
        snapshot = self.snapshot(seed)
        trained = self.train(snapshot, run_id)
        judged = self.evaluate(snapshot, trained, run_id)
        if judged.facts["decision"] != "promote":
            raise WindtunnelError(f"not promoted: {judged.facts['reasons']}")
        self.rollout(trained, judged, run_id)
        return trained, judged


@pytest.fixture(scope="session")
def empty_mlflow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's tables without a row; making them takes seconds, copying them does not."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    ModelRegistry(f"sqlite:///{path}").champion("shop")
    return path


@pytest.fixture
def make_shop(tmp_path: Path, empty_mlflow: Path) -> Callable[..., Shop]:
    return lambda **options: Shop(tmp_path / "shop", empty_mlflow, **options)


@pytest.fixture
def shop(make_shop: Callable[..., Shop]) -> Shop:
    return make_shop()

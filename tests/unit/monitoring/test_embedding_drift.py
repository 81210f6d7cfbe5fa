"""The embedding's shift: one entry for all its numbers, found where single features look as before."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest

from windtunnel.monitoring.drift import measure_drift
from windtunnel.monitoring.embedding import embed
from windtunnel.monitoring.labels import LABEL
from windtunnel.monitoring.reference import ReferenceProfile
from windtunnel.stats.embeddings import embedding_profile
from windtunnel.stats.reference_profile import profile_frame

if TYPE_CHECKING:
    from pathlib import Path

SPEC: Any = SimpleNamespace(
    monitoring=SimpleNamespace(alpha=0.01, min_rows=100, embedding="embedding_of_two:embed"),
)
FUNCTION = """
import numpy as np

def embed(features):
    a, b = features["a"].to_numpy(), features["b"].to_numpy()
    return np.stack([a * b] + [0.1 * a + k * b for k in range(20)], axis=1)
"""


def inputs(seed: int, together: float) -> pl.DataFrame:
    random = np.random.default_rng(seed)
    a = random.normal(size=2_000)
    return pl.DataFrame({"a": a, "b": together * a + np.sqrt(1 - together**2) * random.normal(size=2_000)})


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("lifecycle")
    (found / "embedding_of_two.py").write_text(FUNCTION)
    return found


@pytest.mark.parametrize(("together", "drifted"), [(0.0, []), (0.9, ["correlation", "embedding"])])
def test_it_is_one_entry_however_many_numbers(directory: Path, together: float, drifted: list[str]) -> None:
    features = inputs(0, 0.0)
    vectors = embed(directory, SPEC.monitoring.embedding, features)
    assert vectors is not None
    nothing: Any = None
    number = profile_frame(pl.DataFrame({"prediction": features["a"]}))
    profile = ReferenceProfile(
        lifecycle="x", bundle="sha256:0", snapshot="sha256:0", windows={}, seasons="none",
        features=profile_frame(features), columns=profile_frame(pl.DataFrame()),
        prediction=number, label=number,
        quality=nothing, slices={}, reliability=[], calibration=None,
        embedding=embedding_profile(vectors.to_numpy()),
    )  # fmt: skip
    window = inputs(1, together)
    rows = pl.DataFrame(
        {
            "features": window.to_struct(),
            "prediction": window["a"],
            "entities": pl.Series([None] * window.height, dtype=pl.Null),
            "event_time": pl.Series([None] * window.height, dtype=pl.Datetime("us", "UTC")),
            "time": [datetime(2026, 1, 1, tzinfo=UTC)] * window.height,
        }
    )
    told = rows.with_columns(pl.lit(None, pl.Float64).alias(LABEL))
    found = measure_drift(rows, told, profile, SPEC, directory)
    assert sorted(found.drifted) == drifted
    assert [column["kind"] for column in found.columns].count("embedding") == 1

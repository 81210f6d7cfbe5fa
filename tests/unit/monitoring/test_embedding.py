"""The lifecycle's embedding function is other people's code: whatever it does is told as its mistake."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl
import pytest

from windtunnel.errors import DataError
from windtunnel.monitoring.embedding import embed

if TYPE_CHECKING:
    from pathlib import Path

INPUTS = pl.DataFrame({"a": [1.0, None], "b": [2.0, 3.0]})


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return features['c']", "KeyError"),
        ("return 1 / 0", "ZeroDivisionError"),
        ("return [['x'], ['y']]", "ValueError"),
        ("return features.to_numpy()[:1]", r"shape \[1, 2\] for 2 rows"),
        ("return features['b'].to_numpy()", r"shape \[2\]"),
    ],
)
def test_whatever_it_raises_or_returns_is_a_data_error_that_names_it(
    tmp_path: Path, body: str, message: str
) -> None:
    module = f"odd{abs(hash(body))}"
    (tmp_path / f"{module}.py").write_text(f"def embed(features):\n    {body}\n")
    with pytest.raises(DataError, match=message) as caught:
        embed(tmp_path, f"{module}:embed", INPUTS)
    assert f"{module}:embed" in str(caught.value)


def test_its_columns_are_numbered_and_nan_is_no_value(tmp_path: Path) -> None:
    (tmp_path / "good_embedding.py").write_text("def embed(features):\n    return features.to_numpy() * 2\n")
    found = embed(tmp_path, "good_embedding:embed", INPUTS)
    assert found is not None
    assert found.rows() == [(2.0, 4.0), (None, 6.0)]
    assert found.columns == ["embedding_0", "embedding_1"]
    assert embed(tmp_path, None, INPUTS) is None

"""What the serving image need not hold."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HEAVY = {
    "pandas",
    "polars",
    "feast",
    "mlflow",
    "sklearn",
    "skops",
    "kubernetes",
    "pyarrow",
    "airflow",
    "scipy",
    "redis",
    # what the process that writes the prediction log pays for, not this one
    "arro3",
}


def test_serving_imports_nothing_heavy() -> None:
    code = "import sys, windtunnel.serving.__main__; print(*{name.split('.')[0] for name in sys.modules})"
    source = Path(__file__).parents[3] / "platform" / "src"
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(source)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert HEAVY & set(result.stdout.split()) == set()

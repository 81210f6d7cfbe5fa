"""Evidently in its own environment: one process that is asked about pairs of parquet files."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from tests.bench.serving.venvs import python_of, versions

if TYPE_CHECKING:
    import polars as pl

_PEERS = Path(__file__).with_name("peers")
NAME = f"Evidently's preset ({versions('evidently', _PEERS).split(',')[0]})"


class Evidently:
    """`DataDriftPreset()` as it comes, or with a drift method of its own."""

    def __init__(self, directory: Path) -> None:
        self._reference, self._current = directory / "reference.parquet", directory / "current.parquet"
        self._process = subprocess.Popen(
            [python_of("evidently", _PEERS), _PEERS / "evidently_run.py"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)

    def ask(
        self, reference: pl.DataFrame, current: pl.DataFrame, method: str | None = None
    ) -> dict[str, Any]:
        """What `peers/evidently_run.py` answers."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        reference.write_parquet(self._reference)
        current.write_parquet(self._current)
        asked = {"reference": str(self._reference), "current": str(self._current), "method": method}
        print(json.dumps(asked), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        if not answer:
            raise SystemExit("Evidently's process has ended")
        found: dict[str, Any] = json.loads(answer)
        return found

"""A million rows against a million, 13 number and 2 category columns: seconds, processor seconds, memory.

Each contender is a process of its own that reads its parquet files first; only what comes after is timed. The
platform compares a window with a stored profile, which is what is timed against the plain PSI; making that
profile is timed besides. Rounds take turns and the best of each counts.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from tests.bench.drift.evidently import NAME, Evidently

ROWS = 1_000_000
ROUNDS = 5
_ONE_THREAD = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"}
"""On a busy machine, threads that spin for each other would be most of the processor time."""


def frame(seed: int, rows: int = ROWS) -> pl.DataFrame:
    random = np.random.default_rng(seed)
    numbers = {f"n{index}": random.normal(size=rows) for index in range(7)}
    skewed = {f"s{index}": random.lognormal(size=rows) for index in range(6)}
    levels = {
        "carrier": pl.Series(list("ABCDEFGHIJKL")).gather(random.integers(0, 12, rows)),
        "airport": pl.Series([f"AP{index}" for index in range(100)]).gather(random.integers(0, 100, rows)),
    }
    return pl.DataFrame(numbers | skewed | levels)


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        paths = {name: Path(directory) / f"{name}.parquet" for name in ("reference", "window")}
        for seed, path in enumerate(paths.values()):
            frame(seed).write_parquet(path)
        profile = Path(directory) / "profile.json"
        made = _measure("profile", paths["reference"], profile)
        results: dict[str, list[dict[str, Any]]] = {name: [] for name in ("compare", "psi")}
        for _ in range(ROUNDS):
            for name, found in results.items():
                argument = profile if name == "compare" else paths["reference"]
                found.append(_measure(name, paths["window"], argument))
        best = {name: min(found, key=lambda one: one["seconds"]) for name, found in results.items()}
        rows = {
            "**windtunnel**, window against stored profile": best["compare"],
            "making the profile, once per model": made,
            "plain numpy PSI, both samples": best["psi"],
        }
        with Evidently(Path(directory)) as evidently:
            pair = [pl.read_parquet(path) for path in paths.values()]
            rows[f"{NAME}, default"] = evidently.ask(*pair)
        with Evidently(Path(directory)) as evidently:
            rows[f"{NAME}, method psi"] = evidently.ask(*pair, method="psi")
    print("| 1M against 1M rows x 15 | seconds | times numpy PSI | CPU s | peak MiB |")
    print("|---|---:|---:|---:|---:|")
    for name, row in rows.items():
        ratio = row["seconds"] / best["psi"]["seconds"]
        cpu, peak = row["cpu_seconds"], row["peak_mib"]
        print(f"| {name} | {row['seconds']:.2f} | {ratio:.2f} | {cpu:.2f} | {peak:.0f} |")


def _measure(what: str, rows: Path, other: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.bench.drift.contend", what, str(rows), str(other)]
    found = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=_ONE_THREAD)
    answer: dict[str, Any] = json.loads(found.stdout)
    return answer

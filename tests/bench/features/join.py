"""The point-in-time join: ours, stock Feast on DuckDB, and as-of joins without Feast.

    python -m tests.bench.features.join

Each measurement runs in a process of its own over the same files (`join_cases`, `join_engines`). What the
peers are:

- `feast`: Feast's own DuckDB store, asked as ours is;
- `polars`: `join_asof` over the same files and nothing more: the answer is in the order of time, and nothing
  is checked of types, names, ties or late corrections;
- `duckdb`: an SQL `ASOF LEFT JOIN` over the same files and nothing more.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.bench.features.join_cases import ROOT, real_flights, synthesize

ENGINES = ["ours", "feast", "polars", "duckdb"]
SYNTHETIC = {"30k x 1": (30_000, 1), "300k x 3": (300_000, 3), "1M x 5": (1_000_000, 5)}
BIG = "1M of 10M rows x 1"
REAL = "flights 2013, 337k x 4"
# Stock Feast joins every pair of rows before it chooses one: past this it is not waited for.
MOST_BYTES = 12 * 2**30
MOST_SECONDS = 300

Measured = dict[str, Any] | str


def measure(engine: str, directory: Path) -> Measured:
    """What one engine took for one case, or in a few words why it has no answer."""
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "tests.bench.features.join_engines",
        engine,
        str(directory),
    ]
    paths = os.pathsep.join(map(str, (ROOT, ROOT / "platform" / "src")))

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_DATA, (MOST_BYTES, MOST_BYTES))

    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=MOST_SECONDS, check=False, cwd=ROOT,
            env={**os.environ, "PYTHONPATH": paths}, preexec_fn=limit,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"not done in {MOST_SECONDS} s"
    if done.returncode:
        text = done.stderr.lower()
        memory = "memory" in text or "bad_alloc" in text or done.returncode < 0
        return f"more than {MOST_BYTES // 2**30} GiB" if memory else f"failed: {done.stderr.strip()[-200:]}"
    measured: dict[str, Any] = json.loads(done.stdout)
    return measured


def main() -> None:
    """Print the table and the ratios."""
    print(
        f"Point-in-time join. {platform.machine()}, {os.cpu_count()} cores,",
        f"Python {platform.python_version()},",
        ", ".join(f"{name} {version(name)}" for name in ("feast", "polars", "duckdb", "pyarrow")),
    )
    print(f"{'case':24} {'engine':8} {'CPU s':>8} {'wall s':>8} {'peak MiB':>9}")
    ratios = []
    with tempfile.TemporaryDirectory() as work:
        for name in [*SYNTHETIC, REAL, BIG]:
            directory = Path(work) / name.replace(" ", "-").replace(",", "")
            directory.mkdir()
            if name == REAL:
                real_flights(directory)
            elif name == BIG:
                # Ten million feature rows: what counts here is the memory.
                synthesize(directory, 1_000_000, 1, stored=10_000_000)
            else:
                synthesize(directory, *SYNTHETIC[name])
            ratios.append(_case(name, directory, ["ours", "polars"] if name == BIG else ENGINES))
    print("\nCPU of ours, in ratio to the peers' (`feast` as often dearer; the others as ours is dearer):")
    for line in ratios:
        print(line)


def _case(name: str, directory: Path, engines: list[str]) -> str:
    took: dict[str, float] = {}
    sums = set()
    for engine in engines:
        measured = measure(engine, directory)
        if isinstance(measured, str):
            print(f"{name:24} {engine:8} {measured}", flush=True)
            continue
        took[engine] = measured["cpu"]
        sums.add(measured["sum"])
        cpu, wall, mebibytes = measured["cpu"], measured["wall"], measured["memory"] / 2**20
        print(f"{name:24} {engine:8} {cpu:8.2f} {wall:8.2f} {mebibytes:9.0f}", flush=True)
    if len(sums) > 1:
        raise SystemExit(f"{name}: the engines' answers differ: their sums are {sorted(sums)}")
    ours = took["ours"]
    stock = f"feast {took['feast'] / ours:6.1f}x" if "feast" in took else "feast no answer"
    others = [f"{peer} {ours / took[peer]:.2f}x" for peer in ("polars", "duckdb") if peer in took]
    return f"{name:24} {stock}   {'   '.join(others)}"


if __name__ == "__main__":
    main()

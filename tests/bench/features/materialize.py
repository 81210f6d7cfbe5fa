"""Materialization to Redis: ours and stock Feast's, over the same files of seven days.

Each measurement runs in a process of its own against a Redis of its own on the same machine. `ours again`
writes every row a second time. `bare HSETs` is what the server can do: the same fields by pipelined HSETs
that were prepared beforehand, without a comparison, an expiry, or Feast. Stock Feast is measured as it comes,
without its comparison of timestamps (`skip_dedup`), and in batches.

    python -m tests.bench.features.materialize           the table
    python -m tests.bench.features.materialize --full    stock Feast with a million rows too (minutes)
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path

import numpy as np
import polars as pl
import redis
from redis_process import redis_process
from tests.bench.features.materialize_run import BARE, DAYS, FEATURES, NO_TTL, START

ROOT = Path(__file__).parents[3]
STOCK = ["feast", "feast, skip_dedup", "feast, batches of 10,000"]
SMALL, LARGE = 155_698, 1_000_000


@dataclass(frozen=True)
class Measured:
    engine: str
    keys: int
    wall: float
    client_cpu: float
    server_cpu: float
    memory: int
    """Peak resident bytes of the client."""

    @property
    def rate(self) -> float:
        return self.keys / self.wall


def synthesize(directory: Path, keys: int) -> None:
    """One row per key, ten doubles; a file for each day."""
    random = np.random.default_rng(keys)
    folder = directory / "rows"
    folder.mkdir()
    seconds = random.integers(0, DAYS * 86_400, keys)
    when = (pl.Series(seconds) * 1_000_000 + int(START.timestamp()) * 10**6).cast(pl.Datetime("us", "UTC"))
    rows = pl.DataFrame(
        {"key": random.permutation(keys), "event_timestamp": when, "created": when}
        | {name: random.normal(size=keys) for name in FEATURES}
    )
    for number in range(DAYS):
        first = START + timedelta(days=number)
        inside = pl.col("event_timestamp").is_between(first, first + timedelta(days=1), closed="left")
        rows.filter(inside).write_parquet(folder / f"{first.date()}_000001.parquet")


def measure(engine: str, directory: Path, keys: int) -> list[Measured]:
    with redis_process() as port:
        path = [str(ROOT), str(ROOT / "platform" / "src"), str(ROOT / "tests" / "support")]
        done = subprocess.run(
            [sys.executable, "-m", "tests.bench.features.materialize_run", engine, str(directory), str(port)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
            check=True,
            capture_output=True,
            text=True,
            timeout=1_800,
        )
        with redis.Redis(port=port) as client:
            assert client.dbsize() == keys, "not every key was written"
    passes = json.loads(done.stdout.splitlines()[-1])
    names = [engine, f"{engine} again"]
    return [
        Measured(name, keys, wall, client, server, peak)
        for name, (wall, client, server, peak) in zip(names, passes, strict=False)
    ]


def table(measured: list[Measured]) -> str:
    slowest = {keys: item.rate for item in measured if item.engine == "feast" for keys in (item.keys,)}
    stock = slowest.get(LARGE) or slowest[SMALL]
    lines = [
        "| keys x 10 doubles | engine | rows/s | against feast | CPU-s client | CPU-s server | peak MB |",
        "|---|---|---|---|---|---|---|",
    ]
    for item in measured:
        times = item.rate / slowest.get(item.keys, stock)
        lines.append(
            f"| {item.keys:,} | {item.engine} | {item.rate:,.0f} | {times:.1f}x | {item.client_cpu:.2f} | "
            f"{item.server_cpu:.2f} | {f'{item.memory / 2**20:,.0f}' if item.memory else '-'} |"
        )
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--full", action="store_true", help="stock Feast with a million rows too")
    full = parser.parse_args(arguments or []).full
    measured = []
    for keys in (SMALL, LARGE):
        with tempfile.TemporaryDirectory() as directory:
            synthesize(Path(directory), keys)
            engines = ["ours", NO_TTL, BARE, *(STOCK if keys == SMALL else STOCK[:2] if full else [])]
            for engine in engines:
                measured += measure(engine, Path(directory), keys)
    names = ("feast", "polars", "pyarrow", "redis")
    with redis_process() as port, redis.Redis(port=port) as client:
        server = client.info("server")["redis_version"]
    print("\n## Materialization\n")
    print(table(measured))
    print(
        f"\nPython {platform.python_version()}, {', '.join(f'{name} {version(name)}' for name in names)}; "
        f"server {server}; {os.cpu_count()} cores."
    )


if __name__ == "__main__":
    main(sys.argv[1:])

"""One contender of `speed` in a process of its own: `compare`, `profile` or `psi`; prints its figures."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import polars as pl

from windtunnel.stats.drift import compare
from windtunnel.stats.reference_profile import FrameProfile, profile_frame


def _read(path: Path) -> pl.DataFrame:
    """Column by column: the file as a whole would be most of the memory."""
    return pl.DataFrame(
        [pl.read_parquet(path, columns=[name])[name] for name in pl.read_parquet_schema(path)]
    )


def _peak_mib() -> float:
    """Of this program: getrusage would count what the process that started it held at that moment."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    (kib,) = (line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(kib) / 1024


def _contend(what: str, rows: Path, other: Path) -> None:
    """One measurement, in a process of its own; prints its figures."""
    current = _read(rows)
    reference = _read(other) if what == "psi" else None
    if what == "psi":
        from tests.bench.drift.ours import StabilityIndex
        from tests.bench.drift.quiet import Sample
    started, cpu = time.perf_counter(), time.process_time()
    if what == "profile":
        other.write_text(json.dumps(profile_frame(current).to_json()))
    elif what == "compare":
        compare(FrameProfile.from_json(json.loads(other.read_text())), current)
    else:
        assert reference is not None
        StabilityIndex(Sample(reference)).drifted(Sample(current))
    figures = {
        "seconds": time.perf_counter() - started,
        "cpu_seconds": time.process_time() - cpu,
        "peak_mib": _peak_mib(),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    _contend(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))

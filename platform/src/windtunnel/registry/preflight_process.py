"""`python -m windtunnel.registry.preflight_process`: a bundle alone in a process, as a challenger will be.

Loads it as serving does (verified, rehearsed on its golden requests), under the memory limit that a
challenger has in the serving pod, and times single rows. One JSON object on standard output: the measures, or
{"error"}.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from windtunnel.errors import WindtunnelError
from windtunnel.objects import open_store
from windtunnel.registry.rehearsal import read_rehearsed
from windtunnel.spec.servedmodel import ModelVersion

if TYPE_CHECKING:
    from collections.abc import Sequence

    from windtunnel.registry.bundle import Bundle

_ROUNDS: Final = 5
"""Batches of single rows; the fastest tells of the model rather than of the machine."""
_ROWS: Final = 100
_WARM: Final = 20
_LONGEST: Final = 10.0
"""Seconds for all of them; a slow model is timed on fewer rows."""


def main(arguments: Sequence[str]) -> int:
    """Returns the process's exit code."""
    options = _parser().parse_args(arguments)
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    memory = options.memory if most == resource.RLIM_INFINITY else min(options.memory, most)
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    wanted = ModelVersion(version=options.version, bundle=options.bundle, digest=options.digest)
    try:
        store = open_store(options.store, os.environ)
        bundle = read_rehearsed(store, options.lifecycle, wanted)
    except WindtunnelError as error:
        answer: dict[str, Any] = {"error": error.to_json()}
    else:
        answer = {
            "requests": len(bundle.golden[1]),
            "seconds": _seconds(bundle),
            "memory": _peak(),
        }
    json.dump(answer, sys.stdout)
    return 0


def _peak() -> int:
    """The most memory that the process had, in bytes."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:  # no Linux; there the unit is a byte
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # ru_maxrss of a child begins with what its parent had
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m windtunnel.registry.preflight_process")
    parser.add_argument("--memory", type=int, required=True, help="bytes of memory that it may take")
    for name in ("store", "lifecycle", "version", "bundle", "digest"):
        parser.add_argument(f"--{name}", required=True)
    return parser


def _seconds(bundle: Bundle) -> float | None:
    """What a single row takes: the median of the fastest round; None without golden requests."""
    inputs = bundle.golden[0]
    if not len(inputs):
        return None
    rows = [inputs[number % len(inputs) : number % len(inputs) + 1] for number in range(_ROWS)]
    for row in rows[:_WARM]:
        bundle.predict(row)
    began, medians = time.perf_counter(), []
    for _ in range(_ROUNDS):
        times = []
        for row in rows:
            before = time.perf_counter()
            bundle.predict(row)
            times.append(time.perf_counter() - before)
            if time.perf_counter() - began > _LONGEST:
                break
        medians.append(statistics.median(times))
        if time.perf_counter() - began > _LONGEST:
            break
    return min(medians)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Be hostile to a serving process: alone, with a challenger in shadow, and in canary; then schemathesis.

    python -m tests.fuzz [--requests 24000] [--seed N] [--mode alone|shadow|canary|both] [--only NUMBER]

Exits 1 when a request was answered as none must be. `--seed`, `--mode` and `--only` send that one again.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "platform" / "src"), str(ROOT / "tests" / "support")]


def main() -> int:
    from hostile_run import Fuzz, memory_mib
    from hostile_target import MODES, fuzz, target

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=24_000, help="in all modes together")
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    parser.add_argument("--mode", choices=MODES, action="append")
    parser.add_argument("--only", type=int, help="the number of one request")
    options = parser.parse_args()
    modes = options.mode or ["alone", "shadow", "canary"]
    failed = False
    for mode in modes:
        with tempfile.TemporaryDirectory() as directory, target(Path(directory), MODES[mode]) as process:
            started = time.monotonic()
            if options.only is None:
                report = fuzz(process, options.seed, options.requests // len(modes))
            else:
                report = Fuzz(process.port, options.seed).one(options.only)
            seconds = time.monotonic() - started
            memory, most = (memory_mib(process.process.pid, what) for what in ("VmRSS", "VmHWM"))
            print(
                f"{mode}, seed {options.seed}: {report.requests} requests in {seconds:.0f} s, "
                f"answers {dict(sorted(report.statuses.items()))}, {len(report.problems)} problems, "
                f"{memory:.0f} MiB (at most {most:.0f})",
                flush=True,
            )
            print("\n".join(report.problems))
            failed |= bool(report.problems)
    if options.only is None:
        _schemathesis()
    return int(failed)


def _schemathesis() -> None:
    from hostile_target import MODES, target
    from schemathesis_run import schemathesis

    with tempfile.TemporaryDirectory() as name, target(Path(name), MODES["alone"]) as process:
        phases = "examples,coverage,fuzzing"
        print(schemathesis(process.url, Path(name), examples=150, phases=phases, seconds=1800))


if __name__ == "__main__":
    sys.exit(main())

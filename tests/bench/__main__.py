"""Run every measurement."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "platform" / "src"), str(ROOT / "tests" / "support")]

if __name__ == "__main__":
    from tests.bench import serving_bench
    from tests.bench.features import __main__ as features_bench

    features_bench.main()
    serving_bench.main()

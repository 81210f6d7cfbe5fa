"""Run the three tables: point-in-time join, materialization, online read."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
sys.path[:0] = [str(ROOT / "platform" / "src"), str(ROOT / "tests" / "support")]


def main() -> None:
    # each after the other: they measure the whole machine
    from tests.bench.features import join, materialize, read

    join.main()
    materialize.main()
    read.main()


if __name__ == "__main__":
    main()

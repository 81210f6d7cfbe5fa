"""Drift: what is found, what alarms wrongly, what a million rows cost. `detection` or `speed` runs one."""

from __future__ import annotations

import sys

from tests.bench.drift import detection, speed


def main(chosen: list[str] | None = None) -> None:
    for name, measure in (("speed", speed.main), ("detection", detection.main)):
        if not chosen or name in chosen:
            measure()
            print(flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])

"""Evidently's preset as its documentation has it, in its own environment.

Reads one JSON object a line: {"reference": path, "current": path, "method": null or a name}; answers each
with {"drifted": [columns], "seconds": …, "cpu_seconds": …, "peak_mib": …} in a line. Reading is not timed.
"""

from __future__ import annotations

import json
import resource
import sys
import time
import warnings

import pandas as pd
from evidently import Report
from evidently.presets import DataDriftPreset

warnings.filterwarnings("ignore")


def drifted(reference: pd.DataFrame, current: pd.DataFrame, method: str | None) -> list[str]:
    """Columns whose drift test rings; a test of the report is FAIL where it does."""
    preset = DataDriftPreset() if method is None else DataDriftPreset(method=method)
    found = Report([preset], include_tests=True).run(current, reference).dict()
    return [
        test["metric_config"]["params"]["column"]
        for test in found["tests"]
        if getattr(test["status"], "value", test["status"]) == "FAIL"
        and "column" in test["metric_config"]["params"]
    ]


def main() -> None:
    for line in sys.stdin:
        asked = json.loads(line)
        reference, current = (pd.read_parquet(asked[name]) for name in ("reference", "current"))
        started, cpu = time.perf_counter(), time.process_time()
        try:
            answer: dict[str, object] = {"drifted": drifted(reference, current, asked.get("method"))}
        except Exception as error:
            answer = {"drifted": [], "error": f"{type(error).__name__}: {error}"[:300]}
        answer |= {
            "seconds": time.perf_counter() - started,
            "cpu_seconds": time.process_time() - cpu,
            "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()

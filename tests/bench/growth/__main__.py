"""What a parse of the DAG file costs with 200 lifecycles, in processor time, in processes of their own.

The dag-processor makes all of them every half minute, in a fork that has airflow.sdk imported already; a
worker makes those of its task's lifecycle, once. Storing the DAGs (serialization) is the dag-processor's own
work and is told apart.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.bench import ROOT
from tests.bench.growth.lifecycles import names, write

AIM_MS = 10.0
"""Of processor time for each lifecycle."""


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.growth", description=__doc__)
    parser.add_argument("--lifecycles", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args([] if arguments is None else arguments)
    with tempfile.TemporaryDirectory(prefix="windtunnel-growth-") as temporary:
        dags = Path(temporary, "dags")
        dags.mkdir()
        for file in ("lifecycle_dags.py", ".airflowignore"):
            shutil.copy(ROOT / "dags" / file, dags / file)
        for name in names(options.lifecycles):
            write(dags / "lifecycles", name)
        parses = [_measured(temporary, dags) for _ in range(options.rounds)]
        one = names(options.lifecycles)[-1]
        workers = [_measured(temporary, dags, f"{one}__train") for _ in range(options.rounds)]
    _print(options.lifecycles, parses, workers)


def _measured(temporary: str, dags: Path, dag_id: str = "") -> dict[str, float]:
    environment = {
        **os.environ,
        "AIRFLOW_HOME": str(Path(temporary, "airflow")),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
        "OMP_NUM_THREADS": "1",
    }
    if dag_id:
        environment["_AIRFLOW_PARSING_CONTEXT_DAG_ID"] = dag_id
    command = [sys.executable, "-m", "tests.bench.growth.parse", str(dags)]
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _print(lifecycles: int, parses: list[dict[str, float]], workers: list[dict[str, float]]) -> None:
    def middle(rounds: list[dict[str, float]], what: str) -> float:
        return statistics.median(each[what] for each in rounds)

    def best(what: str) -> float:
        return min(each[what] for each in parses)

    each = middle(parses, "parse") / lifecycles * 1e3
    verdict = "met" if each <= AIM_MS else "MISSED"
    print(f"\ngrowth: {lifecycles} lifecycles, {len(parses)} rounds, processor time")
    print(f"  import of airflow.sdk          {middle(parses, 'sdk') * 1e3:8.0f} ms  (once a process)")
    print(f"  import of the factory          {middle(parses, 'factory') * 1e3:8.0f} ms  (each parse)")
    lowest = best("parse") / lifecycles * 1e3
    print(
        f"  a lifecycle's four DAGs        {each:8.1f} ms, best {lowest:.1f} (aim {AIM_MS:.0f} ms: {verdict})"
    )
    print(
        f"  storing them                   {middle(parses, 'store') / lifecycles * 1e3:8.1f} ms a lifecycle"
    )
    worker, made = middle(workers, "parse") * 1e3, workers[0]["dags"]
    print(f"  a worker's parse               {worker:8.1f} ms for its {made:.0f} DAGs")


if __name__ == "__main__":
    main(sys.argv[1:])

"""One parse of a DAG folder in this process: seconds of processor time, as JSON."""

from __future__ import annotations

import importlib.util
import json
import sys
import time
from pathlib import Path

BEGAN = time.process_time()

from airflow.sdk import DAG, Asset, BaseOperator  # noqa: E402 - its import is what is timed

SDK = time.process_time()

from windtunnel.airflow import dag_factory  # noqa: E402

FACTORY = time.process_time()


def main(folder: Path) -> None:
    spec = importlib.util.spec_from_file_location("lifecycle_dags", folder / "lifecycle_dags.py")
    assert spec is not None
    assert spec.loader is not None
    began = time.process_time()
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    parsed = time.process_time()
    dags = [found for found in vars(module).values() if isinstance(found, DAG)]
    broken = [dag.dag_id for dag in dags if dag.dag_id.endswith("__broken")]
    assert not broken, broken
    # Not a part of the parse, and heavy.
    from airflow.serialization.serialized_objects import DagSerialization

    storing = time.process_time()
    for dag in dags:
        DagSerialization.to_dict(dag)
    stored = time.process_time()
    print(
        json.dumps(
            {
                "sdk": SDK - BEGAN,
                "factory": FACTORY - SDK,
                "parse": parsed - began,
                "store": stored - storing,
                "dags": len(dags),
            }
        )
    )


if __name__ == "__main__":
    # What airflow.sdk gives lazily, the dag-processor has imported before it forks.
    assert all((Asset, BaseOperator, dag_factory))
    main(Path(sys.argv[1]))

"""The only DAG file: makes the DAGs of every lifecycle in `lifecycles/`, for Airflow to find."""

from __future__ import annotations

from pathlib import Path

from windtunnel.airflow.dag_factory import lifecycle_dags

globals().update(lifecycle_dags(Path(__file__).parent / "lifecycles"))

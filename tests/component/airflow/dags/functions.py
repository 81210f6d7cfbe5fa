"""A team's own DAG, of functions: reading it takes more of Airflow than the lean worker has."""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.sdk import dag, task


@dag(
    schedule=None,
    start_date=datetime(2013, 1, 1, tzinfo=UTC),
    is_paused_upon_creation=False,
    max_active_runs=2,
)
def functions() -> None:
    @task
    def add(a: int, b: int) -> int:
        return a + b

    add(3, 4)


functions()

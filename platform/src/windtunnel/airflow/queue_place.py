"""Where a task stands in the queue for a free pod, so that no team starves another.

Airflow takes scheduled tasks by falling priority_weight, then by logical date, then by map index. Left alone
that is unfair in three ways: a task outweighs others by what follows it in its DAG; runs without a logical
date (which an asset or a person starts, such as trainings) stand behind all that have one; and of two runs
that have one, all slices of the older stand before those of the younger, be they a thousand.

Here the weight says when the task came: slice n of a run as if the run had begun n minutes later. A task is
therefore overtaken by nothing that came after it, and a run of a thousand slices lets by what comes while it
goes on.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

_SPACING = 60
"""Seconds between two slices of one run."""
_BEGINNING = datetime(2020, 1, 1, tzinfo=UTC)
# The weight is a 32-bit integer in the database: seconds fit until 2088.


def weight(came: datetime, map_index: int) -> int:
    """The later, the less. Tasks that are not mapped have map_index -1."""
    seconds = int((came - _BEGINNING).total_seconds())
    return -(seconds + _SPACING * max(0, map_index))


def task_instance_mutation_hook(task_instance: Any, dag_run: Any) -> None:
    """Airflow calls this for every TaskInstance that it makes, makes again, or expands.

    The run's own moments, not the clock's: Airflow calls again for tasks that wait already, and those keep
    their place. `dag_run` is None while a TaskInstance is half made; a second call follows.
    """
    came = (dag_run.start_date or dag_run.queued_at) if dag_run is not None else None
    task_instance.priority_weight = weight(came or datetime.now(UTC), task_instance.map_index)

"""Airflow looks for a module of this name on its path; put this directory, and only it, on the PYTHONPATH of
those who make tasks and pods: the scheduler, and the api-server, which makes the tasks of a run by hand.

It adds Windtunnel's labels to worker pods, and gives every task its place in the queue.
"""

from __future__ import annotations

from windtunnel.airflow.pod_labels import pod_mutation_hook
from windtunnel.airflow.queue_place import task_instance_mutation_hook

__all__ = ["pod_mutation_hook", "task_instance_mutation_hook"]

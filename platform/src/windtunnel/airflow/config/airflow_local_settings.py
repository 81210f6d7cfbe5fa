"""Airflow looks for a module of this name on its path; put this directory, and only it, on the scheduler's
PYTHONPATH. It adds Windtunnel's labels to worker pods.
"""

from __future__ import annotations

from windtunnel.airflow.pod_labels import pod_mutation_hook

__all__ = ["pod_mutation_hook"]

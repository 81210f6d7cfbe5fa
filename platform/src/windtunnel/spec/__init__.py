"""What a team declares, as types: lifecycle.yaml, the stages and what passes between them, ServedModels.

No Airflow, no Kubernetes, no input or output beyond the lifecycle's own files, and nothing slow to import:
DAG files parse through this package. pydantic and yaml only.
"""

from __future__ import annotations

from windtunnel.spec.lifecycle import Lifecycle
from windtunnel.spec.loading import load_lifecycle

__all__ = ["Lifecycle", "load_lifecycle"]

"""Labels that say which lifecycle, stage and spec a worker pod runs. Airflow's own name DAG and task only.

kubectl get pods -l windtunnel.dev/lifecycle=flight_delay,windtunnel.dev/stage=train
"""

from __future__ import annotations

import logging
import os
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windtunnel.settings import DEFAULT_LIFECYCLES
from windtunnel.spec import load_lifecycle
from windtunnel.spec.stages import lifecycle_of

if TYPE_CHECKING:
    from collections.abc import Mapping

log = logging.getLogger(__name__)

PREFIX = "windtunnel.dev/"
_DIGEST_CHARACTERS = 16


def pod_labels(annotations: Mapping[str, str], lifecycles: Path) -> dict[str, str]:
    """Labels of a worker pod from the annotations that the executor gave it; none for other DAGs' pods."""
    dag_id, task_id = annotations.get("dag_id", ""), annotations.get("task_id", "")
    lifecycle, stage = lifecycle_of(dag_id, task_id), task_id.partition(".")[0]
    path = lifecycles / lifecycle / "lifecycle.yaml"
    if not lifecycle or not path.is_file():
        return {}
    labels = {"lifecycle": lifecycle, "stage": stage, "spec": _spec_label(path, path.stat().st_mtime_ns)}
    return {PREFIX + name: value for name, value in labels.items() if value}


@lru_cache(maxsize=256)
def _spec_label(path: Path, _changed: int) -> str:
    """A prefix of the spec's digest: a label takes 63 characters and no colon."""
    return load_lifecycle(path.parent).digest.removeprefix("sha256:")[:_DIGEST_CHARACTERS]


def pod_mutation_hook(pod: Any) -> None:
    """Airflow calls this with every V1Pod that it is about to create. No label is worth a pod."""
    try:
        lifecycles = Path(os.environ.get("WINDTUNNEL_LIFECYCLES") or DEFAULT_LIFECYCLES)
        labels = pod_labels(pod.metadata.annotations or {}, lifecycles)
        pod.metadata.labels = {**(pod.metadata.labels or {}), **labels}
    except Exception:
        log.warning("worker pod gets no windtunnel.dev labels", exc_info=True)

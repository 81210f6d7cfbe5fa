"""Stage pods as the API server has them: made by the executor, then alive, dead or dying in some way.

Statuses as kubelets and the controllers write them, shortened to what is about the death; the cluster tests
make real ones.
"""

from __future__ import annotations

import itertools
from typing import Any

from windtunnel.spec.stages import RETAIN_DAG

RUN = "scheduled__2013-02-01T09:00:00+00:00"
RUNNING = {"running": {"startedAt": "2013-02-01T09:00:10Z"}}
_numbers = itertools.count(1)


def pod(
    phase: str = "Running",
    *,
    task_id: str = "train",
    dag_id: str = "wind__train",
    try_number: int = 1,
    map_index: int | None = None,
    deleting: bool = False,
    container: dict[str, Any] | None = None,
    **status: Any,
) -> dict[str, Any]:
    """`container` is the state of its only container, `status` what else stands in its status."""
    number = next(_numbers)
    annotations = {"dag_id": dag_id, "task_id": task_id, "run_id": RUN, "try_number": str(try_number)}
    if map_index is not None:
        annotations["map_index"] = str(map_index)
    if container is not None:
        status["containerStatuses"] = [{"name": "base", "restartCount": 0, "state": container}]
    metadata = {
        "name": f"{dag_id}-{task_id}-{number}".replace("_", "-").replace(".", "-"),
        "uid": f"uid-{number}",
        "resourceVersion": str(number),
        "creationTimestamp": "2013-02-01T09:00:00Z",
        "annotations": annotations,
        "labels": {
            "kubernetes_executor": "True",
            "windtunnel.dev/lifecycle": task_id.partition(".")[2]
            if dag_id == RETAIN_DAG
            else dag_id.partition("__")[0],
            "windtunnel.dev/stage": task_id.partition(".")[0],
            "windtunnel.dev/stage-class": "small",
            "windtunnel.dev/spec": "0123456789abcdef",
        },
    }
    if deleting:
        metadata |= {"deletionTimestamp": "2013-02-01T09:10:00Z", "deletionGracePeriodSeconds": 45}
    base = {
        "name": "base",
        "image": "registry.example.com/windtunnel/stage:1.0",
        "args": ["--json-string", '{"token": "hidden-token"}'],
        "env": [{"name": "WINDTUNNEL_PRICE_PER_HOUR", "value": "0.6"}, {"name": "POD_NAME", "valueFrom": {}}],
        "resources": {"limits": {"memory": "2Gi"}},
    }
    return {"metadata": metadata, "spec": {"containers": [base]}, "status": {"phase": phase, **status}}


def terminated(reason: str, code: int, message: str = "") -> dict[str, Any]:
    """The state of a container that ran from 9:00:10 to 9:05:10."""
    times = {"startedAt": "2013-02-01T09:00:10Z", "finishedAt": "2013-02-01T09:05:10Z"}
    return {
        "terminated": {
            "reason": reason,
            "exitCode": code,
            **times,
            **({"message": message} if message else {}),
        }
    }


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    return {"waiting": {"reason": reason, "message": message}}


def out_of_memory(**kwargs: Any) -> dict[str, Any]:
    """The kernel killed process 1 of the container."""
    return pod("Failed", container=terminated("OOMKilled", 137), **kwargs)


def evicted(**kwargs: Any) -> dict[str, Any]:
    """By the kubelet, whose node ran short."""
    return pod(
        "Failed",
        reason="Evicted",
        message="The node was low on resource: memory. Threshold quantity: 100Mi, available: 61Mi. ",
        container=terminated("Error", 137),
        **kwargs,
    )


def disrupted(phase: str = "Running", **kwargs: Any) -> dict[str, Any]:
    """By a drain, through the eviction API: it is told first, and then deleted."""
    condition = {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting",
    }
    return pod(phase, deleting=True, conditions=[condition], container=RUNNING, **kwargs)


def no_image(reason: str = "ErrImagePull", message: str = "not found", **kwargs: Any) -> dict[str, Any]:
    """The registry does not have it."""
    return pod("Pending", container=waiting(reason, message), **kwargs)


def later(one: dict[str, Any], **status: Any) -> dict[str, Any]:
    """The same pod, with another status."""
    return {**one, "status": {**one["status"], **status}}

"""What the status of a stage's pod says about a death that nobody in the pod could tell. Pure.

Written after the kubelet's and the controllers' own words: status.reason of a pod that failed, the condition
DisruptionTarget (https://kubernetes.io/docs/concepts/workloads/pods/disruptions/), reasons of containers that
wait or have terminated.
"""

from __future__ import annotations

import re
import signal
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from windtunnel.airflow.ending import Failure, out_of_memory
from windtunnel.errors import PermanentError
from windtunnel.records import Measured, StageRecord
from windtunnel.settings import price
from windtunnel.spec.failures import Reason
from windtunnel.spec.stages import RETAIN_DAG, STAGES

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

FATAL_WAITS = (
    "CreateContainerConfigError", "CreateContainerError",
    "ErrImageNeverPull", "ErrImagePull", "ImageInspectError", "InvalidImageName",
)  # fmt: skip
"""Reasons for which the executor gives up a pod whose container waits: the chart tells it these."""
_IMAGE = {"ErrImageNeverPull", "ErrImagePull", "ImageInspectError", "InvalidImageName"}
_BUSY_REGISTRY = "pull QPS exceeded"
"""The kubelet's own limit on pulls: not fatal, the executor waits too."""
# What a kubelet writes as the reason of a pod that it ends for the node's sake.
_BY_ITS_NODE = {"Evicted", "NodeShutdown", "Shutdown", "Terminated", "Preempting", "NodeLost"}
_CONTAINER = "base"
_LABEL = "windtunnel.dev/"
_LONGEST = 500
"""Characters of a kubelet's message that are told."""
_UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12} | {
    f"{letter}i": 1 << 10 * power for power, letter in enumerate("KMGT", 1)
}


@dataclass(frozen=True)
class PodTry:
    """The try of a task that a pod was made for."""

    dag_id: str
    task_id: str
    run_id: str
    try_number: int
    map_index: int | None
    lifecycle: str
    """Empty where it is not a lifecycle's."""

    @classmethod
    def of(cls, pod: Mapping[str, Any]) -> PodTry | None:
        """None for a pod that the executor did not make."""
        metadata = pod["metadata"]
        found = metadata.get("annotations") or {}
        index = found.get("map_index")
        try:
            return cls(
                found["dag_id"],
                found["task_id"],
                found["run_id"],
                int(found["try_number"]),
                int(index) if index is not None else None,
                str((metadata.get("labels") or {}).get(f"{_LABEL}lifecycle", "")),
            )
        except (KeyError, ValueError):
            return None

    @property
    def stage(self) -> str:
        """Of a mapped materialize it stands before the view: `materialize.tower`."""
        return self.task_id.partition(".")[0]

    @property
    def view(self) -> str:
        """What is mapped over views is named after them; a task of the retain DAG is after its lifecycle."""
        return "" if self.dag_id == RETAIN_DAG else self.task_id.partition(".")[2]

    @property
    def is_stage(self) -> bool:
        """Whether it has stage records: plans and approvals have none."""
        return bool(self.lifecycle) and self.stage in STAGES


def is_over(pod: Mapping[str, Any]) -> bool:
    """Whether the executor is done with a pod: it has ended, or cannot begin."""
    return pod["status"].get("phase") in ("Succeeded", "Failed") or _fatal_wait(pod["status"]) is not None


def failure_of(pod: Mapping[str, Any], *, deleted: bool = False) -> Failure | None:
    """Why a pod died, or cannot begin; None while there is nothing to tell.

    Nothing is told of a pod that ended by itself: that of a failed stage succeeds, and its operator says why.
    """
    status, name = pod["status"], _stage(pod)
    phase = status.get("phase")
    if status.get("reason") in _BY_ITS_NODE:
        return _taken(name, _said(status))
    disruption = _disruption(status)
    if disruption and phase != "Succeeded" and (deleted or phase == "Failed" or _is_going(pod)):
        return _taken(name, disruption)
    ended = next(_terminated(status), None)
    if ended is not None and ended.get("reason") == "OOMKilled":
        return out_of_memory(name, _stage_class(pod), _memory_limit(pod))
    if phase == "Failed":
        return _failed(pod, name, ended)
    if phase == "Pending" and not deleted and not _is_going(pod):
        return _cannot_begin(pod, name)
    if phase == "Running" and deleted:
        return Failure(Reason.STOPPED, f"{name}: its pod was deleted while it ran")
    return None


def record_of(pod: Mapping[str, Any], made_for: PodTry, failure: Failure, now: datetime) -> StageRecord:
    """The stage record of a try that its pod's death ended; what it took nobody could measure."""
    labels = pod["metadata"].get("labels") or {}
    started, ended = _times(pod["status"], now)
    return StageRecord(
        stage=made_for.stage,
        run_id=made_for.run_id,
        try_number=made_for.try_number,
        map_index=made_for.map_index,
        started=started,
        ended=ended,
        usage=Measured(round((ended - started).total_seconds(), 3), 0.0, 0),
        result=None,
        error=failure.what,
        pod=str(pod["metadata"]["name"]),
        # A label has no room for all of it.
        spec_digest=f"sha256:{spec}" if (spec := labels.get(f"{_LABEL}spec")) else "",
        code_version="",
        view=made_for.view,
        reason=failure.reason,
        stage_class=_stage_class(pod),
        price_per_hour=_price(pod),
    )


def _taken(name: str, why: str) -> Failure:
    return Failure(
        Reason.EVICTED,
        f"{name}: the cluster took its pod away: {why}; where memory or disk were short, let stages.classes "
        "in the chart's values ask for as much as the stage takes",
    )


def _failed(pod: Mapping[str, Any], name: str, ended: Mapping[str, Any] | None) -> Failure:
    status = pod["status"]
    if status.get("reason") == "DeadlineExceeded":
        return Failure(Reason.TIMEOUT, f"{name}: its pod ran longer than it may: {_said(status)}")
    if ended is None:
        return Failure(Reason.PLATFORM_ERROR, f"{name}: its pod did not run: {_said(status)}")
    code, said = int(ended.get("exitCode", 0)), str(ended.get("reason") or "")
    if said == "ContainerStatusUnknown":
        return _taken(name, "its node lost the container")
    if said in ("StartError", "ContainerCannotRun"):
        return Failure(Reason.PLATFORM_ERROR, f"{name}: its container cannot start: {_said(ended)}")
    if code == 128 + signal.SIGTERM or _is_going(pod):
        return Failure(Reason.STOPPED, f"{name}: its pod was ended from outside while it ran")
    if code > 128:
        return Failure(
            Reason.CRASHED, f"{name}: its pod was killed by {_signal(code - 128)}, not for want of memory"
        )
    # The lean worker leaves a message where it refuses to run.
    why = _said(ended) if ended.get("message") else "the pod's own output says why"
    return Failure(
        Reason.PLATFORM_ERROR, f"{name}: Airflow's worker in its pod ended with exit code {code}; {why}"
    )


def _cannot_begin(pod: Mapping[str, Any], name: str) -> Failure | None:
    waiting = _fatal_wait(pod["status"])
    if waiting is None:
        return None
    if waiting["reason"] in _IMAGE:
        return Failure(
            Reason.IMAGE_PULL,
            f"{name}: the image {_image(pod)} of its pod cannot be had: {_said(waiting)}; check images and "
            "stages.classes in the chart's values, and images.pullSecrets",
        )
    return Failure(
        Reason.PLATFORM_ERROR, f"{name}: the container of its pod cannot be made: {_said(waiting)}"
    )


def _statuses(status: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for kind in ("initContainerStatuses", "containerStatuses"):
        for container in status.get(kind) or ():
            yield container.get("state") or {}


def _terminated(status: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Containers that ended otherwise than well."""
    for state in _statuses(status):
        ended = state.get("terminated")
        if ended and (ended.get("exitCode") != 0 or ended.get("reason") == "OOMKilled"):
            yield ended


def _times(status: Mapping[str, Any], now: datetime) -> tuple[datetime, datetime]:
    """When its last container began and ended; both are `now` for a pod that never ran."""
    started = ended = now
    for state in _statuses(status):
        ran = state.get("terminated") or state.get("running") or {}
        if ran.get("startedAt"):
            started = _moment(ran["startedAt"], now)
            ended = max(started, _moment(ran.get("finishedAt"), now))
    return started, ended


def _fatal_wait(status: Mapping[str, Any]) -> Mapping[str, Any] | None:
    if status.get("phase") != "Pending":
        return None
    for state in _statuses(status):
        waiting = state.get("waiting") or {}
        if waiting.get("reason") in FATAL_WAITS and waiting.get("message") != _BUSY_REGISTRY:
            return dict(waiting)
    return None


def _disruption(status: Mapping[str, Any]) -> str:
    for condition in status.get("conditions") or ():
        if condition.get("type") == "DisruptionTarget" and condition.get("status") == "True":
            return _said(condition)
    return ""


def _said(where: Mapping[str, Any]) -> str:
    """`reason: message`, as far as there is any."""
    message = " ".join(str(where.get("message") or "").split())[:_LONGEST]
    return ": ".join(part for part in (str(where.get("reason") or ""), message) if part) or "nobody said why"


def _is_going(pod: Mapping[str, Any]) -> bool:
    return bool(pod["metadata"].get("deletionTimestamp"))


def _stage(pod: Mapping[str, Any]) -> str:
    annotations = pod["metadata"].get("annotations") or {}
    return str(annotations.get("task_id", "")).partition(".")[0] or "the task"


def _stage_class(pod: Mapping[str, Any]) -> str:
    return str((pod["metadata"].get("labels") or {}).get(f"{_LABEL}stage-class", ""))


def _base(pod: Mapping[str, Any]) -> Mapping[str, Any]:
    containers: Collection[Mapping[str, Any]] = pod.get("spec", {}).get("containers") or ()
    return next((one for one in containers if one.get("name") == _CONTAINER), {})


def _image(pod: Mapping[str, Any]) -> str:
    return str(_base(pod).get("image", ""))


def _memory_limit(pod: Mapping[str, Any]) -> int | None:
    """Bytes."""
    limit = (_base(pod).get("resources") or {}).get("limits", {}).get("memory", "")
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([kMGT]i?|Ki|)", str(limit))
    return int(float(found[1]) * _UNITS[found[2]]) if found else None


def _price(pod: Mapping[str, Any]) -> float | None:
    given = (
        one.get("value") for one in _base(pod).get("env") or () if one["name"] == "WINDTUNNEL_PRICE_PER_HOUR"
    )
    with suppress(PermanentError):
        return price(str(next(given, None) or ""))
    return None


def _moment(text: str | None, default: datetime) -> datetime:
    with suppress(ValueError):
        return datetime.fromisoformat(text).astimezone(UTC) if text else default
    return default


def _signal(number: int) -> str:
    with suppress(ValueError):
        return signal.Signals(number).name
    return f"signal {number}"

"""What was seen → status of the ServedModel. Pure: the clock is an argument."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from windtunnel.controller.reconcile import is_scaled
from windtunnel.rollout.taking_back import why_taken_back
from windtunnel.spec.servedmodel import ChallengerStatus, Condition, ServedModelStatus

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Literal

    from windtunnel.spec.servedmodel import ModelVersion, Phase, RolloutEvidence, ServedModel

    Truth = Literal["True", "False", "Unknown"]

_MOST_WARM: Final = 3
_STUCK: Final = frozenset(
    {
        "CrashLoopBackOff",
        "ImagePullBackOff",
        "ErrImagePull",
        "InvalidImageName",
        "CreateContainerConfigError",
        "CreateContainerError",
        "RunContainerError",
    }
)
"""Reasons of a waiting container that no waiting mends."""


@dataclass(frozen=True)
class Problem:
    """Why a ServedModel is degraded: a reason in CamelCase, and a message for people."""

    reason: str
    message: str


@dataclass(frozen=True)
class View:
    """What a condition says."""

    status: Truth
    reason: str
    message: str = ""


@dataclass(frozen=True)
class GuardView:
    """What the condition ChallengerHealthy says."""

    status: Truth
    reason: str
    message: str
    challenger: ModelVersion | None = None
    """Whose health it is, where a guard has looked."""
    evidence: RolloutEvidence | None = None
    """What the guard has seen of it."""


@dataclass(frozen=True)
class PodView:
    """One serving pod as the controller sees it."""

    name: str
    ready: bool
    champion: str | None = None
    digest: str | None = None
    failure: Mapping[str, str] | None = None
    """{version, reason, message} of a version that the pod could not take in."""
    stuck: Problem | None = None
    """Why its container does not run, or not for long."""
    address: str | None = None
    challenger: Mapping[str, str] | None = None
    """{version, digest, state, message} of the challenger that it has."""
    warm: tuple[tuple[str, str], ...] = ()
    """(version, digest) of the former champions that it holds ready, as it lists them."""

    @classmethod
    def from_pod(cls, pod: Mapping[str, Any], parameters: Mapping[str, Any] | None) -> PodView:
        """From a Pod object and what the pod said of its model (None when it did not answer)."""
        status = pod.get("status", {})
        ready = any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions", ()))
        said = parameters or {}
        return cls(
            name=pod["metadata"]["name"],
            ready=ready,
            champion=said.get("champion"),
            digest=said.get("digest"),
            failure=said.get("failure"),
            stuck=_stuck(status),
            address=status.get("podIP"),
            challenger=said.get("challenger"),
            warm=tuple(
                (str(one["version"]), str(one["digest"]))
                for one in said.get("warm") or ()
                if one["state"] == "Ready"
            ),
        )


def _stuck(status: Mapping[str, Any]) -> Problem | None:
    for container in status.get("containerStatuses", ()):
        ended = container.get("lastState", {}).get("terminated")
        if ended and not container.get("ready"):
            # said while it waits and while it tries again, so that the phase doesn't flap
            reason = ended.get("reason") or "Error"
            restarts = container.get("restartCount", 0)
            return Problem(
                reason, f"ended with exit code {ended.get('exitCode')}, restarted {restarts} times"
            )
        waiting = container.get("state", {}).get("waiting", {})
        if waiting.get("reason") in _STUCK:
            return Problem(waiting["reason"], waiting.get("message", ""))
    return None


def observed(
    model: ServedModel,
    old: ServedModelStatus | None,
    deployment: Mapping[str, Any] | None,
    pods: Sequence[PodView],
    now: datetime,
    guard: GuardView | None = None,
    more: Mapping[str, View] | None = None,
) -> ServedModelStatus:
    """The status that these observations justify, after the `old` one; `more` are conditions by type that
    stand beside those of the pods."""
    wanted = _wanted(model, deployment)
    target = model.spec.champion
    ready = [pod for pod in pods if pod.ready]
    serving = [pod for pod in ready if (pod.champion, pod.digest) == (target.version, target.digest)]
    champions = {pod.champion for pod in ready}
    champion = champions.pop() if len(champions) == 1 else None
    problem = _problem(model, deployment, pods)
    if problem is not None:
        phase: Phase = "Degraded"
    elif len(serving) >= wanted and len(serving) == len(ready) and _rolled_out(deployment, wanted):
        phase = "Ready"
    elif not ready and not (old and old.champion):
        phase = "Pending"
    else:
        phase = "Progressing"
    status = ServedModelStatus(
        phase=phase,
        champion=champion,
        ready=f"{len(serving)}/{wanted}",
        challenger=_with_evidence(_challenger(model, ready), model, old, guard),
        warm=_warm(model, ready),
        recorded=old.recorded if old else 0,
        observed_generation=model.metadata.generation,
    )
    return _with_conditions(status, old, bool(ready), problem, now, guard, more)


def failed(
    old: ServedModelStatus | None,
    generation: int | None,
    problem: Problem,
    now: datetime,
    guard: GuardView | None = None,
    more: Mapping[str, View] | None = None,
) -> ServedModelStatus:
    """The status when the objects could not be applied; what is known of the pods stays."""
    known = old or ServedModelStatus()
    status = known.model_copy(update={"phase": "Degraded", "observed_generation": generation})
    available = any(c.type == "Available" and c.status == "True" for c in known.conditions)
    return _with_conditions(status, old, available, problem, now, guard, more)


def guard_view(model: ServedModel, live: GuardView | None) -> GuardView | None:
    """What is to be said of the challenger's health; `live`: what the guard says while it looks."""
    spec = model.spec
    if spec.challenger is None:
        return None
    scores = bool(spec.traffic or spec.shadow)
    if not scores and (said := why_taken_back(model)):
        return GuardView("False", *said)
    if not spec.guard.enabled:
        seen = live.evidence if live is not None and live.challenger == spec.challenger else None
        return GuardView("Unknown", "GuardDisabled", "spec.guard.enabled is false", evidence=seen)
    if not scores:
        return GuardView("Unknown", "Idle", "no traffic and no shadow")
    if live is None or live.challenger != spec.challenger:  # the guard may still be with the one before
        return GuardView("Unknown", "Waiting", "the guard begins to look")
    return live


def _challenger(model: ServedModel, ready: Sequence[PodView]) -> ChallengerStatus | None:
    wanted = model.spec.challenger
    if wanted is None:
        return None
    said = [
        (pod.name, pod.challenger)
        for pod in ready
        if pod.challenger
        and (pod.challenger.get("version"), pod.challenger.get("digest")) == (wanted.version, wanted.digest)
    ]
    for state in ("Rejected", "Quarantined"):
        for name, one in said:
            if one.get("state") == state:
                message = f"{name}: {one.get('message') or ''}"[:1000]
                return ChallengerStatus(version=wanted.version, state=state, message=message)
    everywhere = len(said) == len(ready) > 0 and all(one.get("state") == "Ready" for _, one in said)
    return ChallengerStatus(version=wanted.version, state="Ready" if everywhere else "Loading")


def _with_evidence(
    status: ChallengerStatus | None,
    model: ServedModel,
    old: ServedModelStatus | None,
    guard: GuardView | None,
) -> ChallengerStatus | None:
    """What the guard has seen; until it has looked, what was said of the same rollout before."""
    if status is None:
        return None
    evidence = guard.evidence if guard else None
    before = old.challenger.evidence if old and old.challenger else None
    rollout = model.spec.rollout
    if evidence is None and rollout is not None and before is not None and before.run_id == rollout.run_id:
        evidence = before
    return status.model_copy(update={"evidence": evidence})


def _warm(model: ServedModel, ready: Sequence[PodView]) -> tuple[str, ...]:
    """Former champions that every ready pod holds; none while none is ready."""
    if not ready:
        return ()
    champion = (model.spec.champion.version, model.spec.champion.digest)
    held = [one for one in ready[0].warm if one != champion and all(one in pod.warm for pod in ready)]
    return tuple(version for version, _ in held)[:_MOST_WARM]


def _problem(
    model: ServedModel, deployment: Mapping[str, Any] | None, pods: Sequence[PodView]
) -> Problem | None:
    for pod in pods:
        if pod.failure and pod.failure.get("version") in (model.spec.champion.version, ""):
            return Problem(
                pod.failure.get("reason", "LoadFailed"), f"{pod.name}: {pod.failure.get('message', '')}"
            )
        if pod.stuck:
            return Problem(pod.stuck.reason, f"{pod.name}: {pod.stuck.message}")
    for condition in (deployment or {}).get("status", {}).get("conditions", ()):
        stuck = (condition["type"], condition["status"]) in (
            ("ReplicaFailure", "True"),
            ("Progressing", "False"),
        )
        if stuck:
            return Problem(condition.get("reason", "ReplicaFailure"), condition.get("message", ""))
    return None


def _wanted(model: ServedModel, deployment: Mapping[str, Any] | None) -> int:
    """How many pods shall serve: as the spec says, or as its autoscaler does."""
    replicas = model.spec.serving.replicas
    if is_scaled(model) and deployment is not None:
        # nobody wants no pod: it was scaled to nothing by hand, which the next apply mends
        return max(1, int(deployment["spec"].get("replicas", replicas)))
    return replicas


def autoscaling_view(model: ServedModel, autoscaler: Mapping[str, Any] | None) -> View | None:
    """What the condition Autoscaling says; None where no autoscaler is wanted."""
    if not is_scaled(model):
        return None
    status = (autoscaler or {}).get("status", {})
    said = {condition["type"]: condition for condition in status.get("conditions") or ()}
    for kind in ("AbleToScale", "ScalingActive"):
        one = said.get(kind)
        if one is not None and one["status"] == "False":
            return View("False", one.get("reason") or "Unknown", one.get("message", ""))
    if "ScalingActive" not in said:
        return View("Unknown", "Waiting", "the autoscaler has not looked yet")
    serving, limited = model.spec.serving, said.get("ScalingLimited", {})
    wants = status.get("desiredReplicas", 0)
    message = f"between {serving.replicas} and {serving.max_replicas} pods, wants {wants}"
    if (limited.get("status"), limited.get("reason")) == ("True", "TooManyReplicas"):
        return View("True", "AtMaximum", f"{message}: it would take more; raise serving.maxReplicas")
    return View("True", "AsWanted", message)


def _rolled_out(deployment: Mapping[str, Any] | None, wanted: int) -> bool:
    if deployment is None:
        return False
    status = deployment.get("status", {})
    return bool(
        status.get("observedGeneration") == deployment["metadata"].get("generation")
        and status.get("updatedReplicas", 0) == status.get("replicas", 0) == wanted
    )


def _with_conditions(
    status: ServedModelStatus,
    old: ServedModelStatus | None,
    available: bool,
    problem: Problem | None,
    now: datetime,
    guard: GuardView | None,
    more: Mapping[str, View] | None,
) -> ServedModelStatus:
    reach = ("Serving", f"{status.champion or 'several versions'}: {status.ready} ready")
    if not available:
        reach = ("NoReadyPods", "no pod is ready to answer")
    trouble = (problem.reason, problem.message) if problem else ("AsWanted", "")
    conditions = [
        _condition(old, "Available", "True" if available else "False", *reach, now),
        _condition(old, "Degraded", "True" if problem else "False", *trouble, now),
    ]
    if guard is not None:
        conditions.append(
            _condition(old, "ChallengerHealthy", guard.status, guard.reason, guard.message, now)
        )
    conditions += [
        _condition(old, kind, view.status, view.reason, view.message, now)
        for kind, view in (more or {}).items()
    ]
    return status.model_copy(update={"conditions": conditions})


def _condition(
    old: ServedModelStatus | None, kind: str, value: Truth, reason: str, message: str, now: datetime
) -> Condition:
    """The condition, with the time of its last change kept while it stays as it is."""
    since = now
    for before in old.conditions if old else ():
        if before.type == kind and before.status == value:
            since = before.last_transition_time
    return Condition(
        type=kind,
        status=value,
        reason=reason[:63] or "Unknown",
        message=message[:1000],
        last_transition_time=since.astimezone(UTC).replace(microsecond=0),
    )

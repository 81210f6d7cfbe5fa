"""From what was seen to what kubectl shows."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from windtunnel.controller.status import (
    GuardView,
    PodView,
    Problem,
    View,
    autoscaling_view,
    failed,
    guard_view,
    observed,
)
from windtunnel.spec.servedmodel import ModelVersion, ServedModel, ServedModelStatus

NOW = datetime(2026, 3, 1, tzinfo=UTC)
DIGEST = "sha256:" + "a" * 64
OLD_DIGEST = "sha256:" + "b" * 64
MODEL = ServedModel.model_validate(
    {
        "metadata": {"name": "flight-delay", "generation": 7},
        "spec": {
            "lifecycle": "flight_delay",
            "champion": {"version": "2", "bundle": "s3://b/2", "digest": DIGEST},
            "serving": {"replicas": 2},
        },
    }
)


def deployment(updated: int = 2, replicas: int = 2, **condition: str) -> dict[str, Any]:
    status = {"observedGeneration": 3, "updatedReplicas": updated, "replicas": replicas}
    return {
        "metadata": {"generation": 3},
        "status": {**status, "conditions": [condition] if condition else []},
    }


def new(name: str = "a", ready: bool = True) -> PodView:
    return PodView(name, ready, "2", DIGEST)


def old(name: str = "o") -> PodView:
    return PodView(name, True, "1", OLD_DIGEST)


def status(*pods: PodView, before: ServedModelStatus | None = None, **seen: Any) -> ServedModelStatus:
    return observed(MODEL, before, deployment(**seen), pods, NOW)


def condition(of: ServedModelStatus, kind: str) -> tuple[str, str]:
    (found,) = (item for item in of.conditions if item.type == kind)
    return found.status, found.reason


def test_is_ready_when_every_wanted_pod_serves_the_champion() -> None:
    seen = status(new("a"), new("b"))
    assert (seen.phase, seen.champion, seen.ready, seen.observed_generation) == ("Ready", "2", "2/2", 7)
    assert condition(seen, "Available") == ("True", "Serving")
    assert condition(seen, "Degraded") == ("False", "AsWanted")


def test_is_pending_before_anything_has_served() -> None:
    seen = status(new(ready=False))
    assert (seen.phase, seen.champion, seen.ready) == ("Pending", None, "0/2")
    assert condition(seen, "Available") == ("False", "NoReadyPods")


def test_has_no_champion_while_pods_differ() -> None:
    seen = status(new(), old())
    assert (seen.phase, seen.champion, seen.ready) == ("Progressing", None, "1/2")
    assert condition(seen, "Available")[0] == "True"


def test_names_the_version_that_serves_until_the_new_one_does() -> None:
    seen = status(old("a"), old("b"))
    assert (seen.phase, seen.champion, seen.ready) == ("Progressing", "1", "0/2")


def test_the_same_version_with_another_digest_is_not_the_champion() -> None:
    seen = status(PodView("a", True, "2", OLD_DIGEST), PodView("b", True, "2", OLD_DIGEST))
    assert (seen.phase, seen.ready) == ("Progressing", "0/2")


def test_is_progressing_while_pods_are_replaced() -> None:
    assert status(new("a"), new("b"), updated=1, replicas=2).phase == "Progressing"
    assert status(new("a"), new("b"), new("c"), updated=2, replicas=3).phase == "Progressing"


def test_pods_that_went_after_a_champion_are_progress_not_a_beginning() -> None:
    before = status(new("a"), new("b"))
    assert status(new(ready=False), before=before).phase == "Progressing"


def test_a_pod_that_cannot_take_the_champion_in_degrades() -> None:
    failure = {"version": "2", "reason": "IntegrityError", "message": "the content has digest x"}
    seen = status(old("a"), PodView("b", True, "1", OLD_DIGEST, failure))
    assert (seen.phase, seen.champion) == ("Degraded", "1")
    assert condition(seen, "Degraded") == ("True", "IntegrityError")
    assert condition(seen, "Available")[0] == "True"


def test_a_failure_of_another_version_is_history() -> None:
    failure = {"version": "1", "reason": "IntegrityError", "message": ""}
    assert status(new("a"), PodView("b", True, "2", DIGEST, failure)).phase == "Ready"


@pytest.mark.parametrize("reason", ["CrashLoopBackOff", "ImagePullBackOff", "CreateContainerConfigError"])
def test_a_container_that_does_not_start_degrades(reason: str) -> None:
    pod = {
        "metadata": {"name": "a"},
        "status": {"containerStatuses": [{"state": {"waiting": {"reason": reason, "message": "why"}}}]},
    }
    seen = status(PodView.from_pod(pod, None))
    assert seen.phase == "Degraded"
    assert condition(seen, "Degraded") == ("True", reason)
    assert "a: why" in seen.conditions[1].message


@pytest.mark.parametrize("state", [{"waiting": {"reason": "CrashLoopBackOff"}}, {"running": {}}])
def test_a_container_that_keeps_ending_says_how(state: dict[str, Any]) -> None:
    ended = {"terminated": {"reason": "OOMKilled", "exitCode": 137}}
    container = {"state": state, "lastState": ended, "restartCount": 4, "ready": False}
    pod = {"metadata": {"name": "a"}, "status": {"containerStatuses": [container]}}
    seen = status(PodView.from_pod(pod, None))
    assert condition(seen, "Degraded") == ("True", "OOMKilled")
    assert "exit code 137, restarted 4 times" in seen.conditions[1].message


def test_a_container_that_has_recovered_is_well() -> None:
    ended = {"terminated": {"reason": "Error", "exitCode": 1}}
    container = {"state": {"running": {}}, "lastState": ended, "restartCount": 1, "ready": True}
    ready = {"type": "Ready", "status": "True"}
    pod = {"metadata": {"name": "a"}, "status": {"containerStatuses": [container], "conditions": [ready]}}
    said = {"champion": "2", "digest": DIGEST}
    assert status(PodView.from_pod(pod, said), new("b")).phase == "Ready"


def test_a_container_that_is_being_made_does_not() -> None:
    pod = {
        "metadata": {"name": "a"},
        "status": {"containerStatuses": [{"state": {"waiting": {"reason": "ContainerCreating"}}}]},
    }
    assert status(PodView.from_pod(pod, None)).phase == "Pending"


def test_a_quota_that_forbids_pods_degrades() -> None:
    seen = status(type="ReplicaFailure", status="True", reason="FailedCreate", message="exceeded quota")
    assert condition(seen, "Degraded") == ("True", "FailedCreate")


def test_conditions_keep_the_time_of_their_last_change() -> None:
    first = status(new("a"), new("b"))
    later = observed(MODEL, first, deployment(), [new("a"), old("b")], NOW + timedelta(hours=1))
    gone = observed(MODEL, later, deployment(), [], NOW + timedelta(hours=2))
    assert later.conditions[0].last_transition_time == NOW
    assert gone.conditions[0].last_transition_time == NOW + timedelta(hours=2)


def test_what_cannot_be_applied_degrades_and_keeps_what_is_known() -> None:
    before = status(new("a"), new("b"))
    seen = failed(before, 8, Problem("ApplyFailed", "quantities must match"), NOW)
    assert (seen.phase, seen.champion, seen.ready, seen.observed_generation) == ("Degraded", "2", "2/2", 8)
    assert condition(seen, "Available")[0] == "True"
    assert condition(seen, "Degraded") == ("True", "ApplyFailed")


CHALLENGER = {"version": "3", "bundle": "s3://b/3", "digest": "sha256:" + "3" * 64}


def rollout(**spec: Any) -> ServedModel:
    value = MODEL.to_object()
    value["spec"] |= {"challenger": CHALLENGER, **spec}
    return ServedModel.model_validate(value)


def with_challenger(name: str, state: str, **said: str) -> PodView:
    return replace(new(name), challenger={**CHALLENGER, "state": state, **said})


@pytest.mark.parametrize(
    ("pods", "state", "message"),
    [
        ([], "Loading", ""),
        ([new("a")], "Loading", ""),
        ([with_challenger("a", "Ready"), with_challenger("b", "Loading")], "Loading", ""),
        ([with_challenger("a", "Ready"), new("b")], "Loading", ""),
        ([with_challenger("a", "Ready"), with_challenger("b", "Ready")], "Ready", ""),
        (
            [with_challenger("a", "Ready"), with_challenger("b", "Quarantined", message="died thrice")],
            "Quarantined",
            "b: died thrice",
        ),
        (
            [with_challenger("a", "Rejected", message="digest"), with_challenger("b", "Quarantined")],
            "Rejected",
            "a: digest",
        ),
        ([with_challenger("a", "Ready", digest=DIGEST)], "Loading", ""),
        ([with_challenger("a", "Ready", version="2")], "Loading", ""),
    ],
)
def test_the_challenger_is_what_all_ready_pods_say(pods: list[PodView], state: str, message: str) -> None:
    seen = observed(rollout(), None, deployment(), pods, NOW)
    assert seen.challenger is not None
    assert (seen.challenger.version, seen.challenger.state, seen.challenger.message) == ("3", state, message)


def test_without_a_challenger_nothing_is_said_of_one() -> None:
    seen = status(new("a"), new("b"))
    assert seen.challenger is None
    assert [condition.type for condition in seen.conditions] == ["Available", "Degraded"]


def taken_back(**change: str) -> list[dict[str, Any]]:
    act = {"number": 1, "action": "taken_back", "at": "2026-03-01T00:00:00Z", "reason": "ErrorRate: why"}
    return [{**CHALLENGER, **act, **change}]


LIVE = GuardView("True", "Healthy", "fine", ModelVersion.model_validate(CHALLENGER))
OF_ANOTHER = GuardView("False", "ErrorRate", "bad", MODEL.spec.champion)


@pytest.mark.parametrize(
    ("model", "live", "expected"),
    [
        (MODEL, LIVE, None),
        (rollout(), None, ("Unknown", "Idle")),
        (rollout(), LIVE, ("Unknown", "Idle")),
        (rollout(traffic=1), None, ("Unknown", "Waiting")),
        (rollout(shadow=True), LIVE, ("True", "Healthy")),
        (rollout(traffic=1), OF_ANOTHER, ("Unknown", "Waiting")),
        (rollout(traffic=1, guard={"enabled": False}), None, ("Unknown", "GuardDisabled")),
        (rollout(history=taken_back()), None, ("False", "ErrorRate")),
        (rollout(history=taken_back(), guard={"enabled": False}), None, ("False", "ErrorRate")),
        (rollout(history=taken_back(), traffic=1), LIVE, ("True", "Healthy")),
        (rollout(history=taken_back(version="2")), None, ("Unknown", "Idle")),
        (rollout(history=taken_back(digest=DIGEST)), None, ("Unknown", "Idle")),
        (rollout(history=taken_back(action="promotion")), None, ("Unknown", "Idle")),
        (rollout(history=taken_back(reason="by hand")), None, ("False", "TakenBack")),
    ],
)
def test_the_health_of_the_challenger(
    model: ServedModel, live: GuardView | None, expected: tuple[str, str] | None
) -> None:
    seen = guard_view(model, live)
    assert (seen and (seen.status, seen.reason)) == expected
    conditions = observed(model, None, deployment(), [], NOW, seen).conditions
    said = [(c.status, c.reason) for c in conditions if c.type == "ChallengerHealthy"]
    assert said == ([expected] if expected else [])


def test_a_pod_says_where_it_is_and_what_challenger_it_has() -> None:
    pod = {"metadata": {"name": "a"}, "status": {"podIP": "10.0.0.7"}}
    seen = PodView.from_pod(pod, {"champion": "2", "challenger": {"state": "Ready"}})
    assert (seen.address, seen.challenger) == ("10.0.0.7", {"state": "Ready"})


def scaled(minimum: int = 2, maximum: int = 6) -> ServedModel:
    serving = MODEL.spec.serving.model_copy(update={"replicas": minimum, "max_replicas": maximum})
    return MODEL.model_copy(update={"spec": MODEL.spec.model_copy(update={"serving": serving})})


def autoscaler(wants: int = 3, **conditions: tuple[str, str]) -> dict[str, Any]:
    said = [
        {"type": kind, "status": value, "reason": reason, "message": f"about {reason}"}
        for kind, (value, reason) in conditions.items()
    ]
    return {"status": {"desiredReplicas": wants, "conditions": said}}


def test_an_autoscaler_that_cannot_see_says_why() -> None:
    able, blind = ("True", "ReadyForNewScale"), ("False", "FailedGetResourceMetric")
    seen = autoscaling_view(scaled(), autoscaler(AbleToScale=able, ScalingActive=blind))
    assert seen == View("False", "FailedGetResourceMetric", "about FailedGetResourceMetric")


def test_an_autoscaler_says_what_it_wants_and_where_it_ends() -> None:
    active = ("True", "ValidMetricFound")
    for limited, reason in (
        (("False", "DesiredWithinRange"), "AsWanted"),
        (("True", "TooManyReplicas"), "AtMaximum"),
    ):
        seen = autoscaling_view(scaled(), autoscaler(6, ScalingActive=active, ScalingLimited=limited))
        assert seen is not None
        assert (seen.status, seen.reason) == ("True", reason)
        assert seen.message.startswith("between 2 and 6 pods, wants 6")
    fewest = autoscaling_view(
        scaled(), autoscaler(2, ScalingActive=active, ScalingLimited=("True", "TooFewReplicas"))
    )
    assert fewest is not None
    assert fewest.reason == "AsWanted"


@pytest.mark.parametrize("found", [None, {}, {"status": {}}, {"status": {"conditions": None}}])
def test_an_autoscaler_that_has_not_looked_yet_is_no_trouble(found: dict[str, Any] | None) -> None:
    seen = autoscaling_view(scaled(), found)
    assert seen is not None
    assert (seen.status, seen.reason) == ("Unknown", "Waiting")
    assert autoscaling_view(MODEL, found) is None


def test_what_was_scaled_to_nothing_is_not_ready() -> None:
    none = deployment(0, 0) | {"spec": {"replicas": 0}}
    seen = observed(scaled(), None, none, [], NOW)
    assert (seen.ready, seen.phase) == ("0/1", "Pending")


def test_warm_is_what_every_ready_pod_holds() -> None:
    one, two, other = ("1", OLD_DIGEST), ("0", OLD_DIGEST), ("1", DIGEST)
    held = [replace(new("a"), warm=(one, two)), replace(new("b"), warm=(two, one))]
    assert status(*held).warm == ("1", "0")
    assert status(*held, replace(new("c", ready=False), warm=())).warm == ("1", "0")
    assert status(*held, new("c")).warm == ()
    # another digest is another model
    assert status(held[0], replace(new("b"), warm=(other, two))).warm == ("0",)
    assert status().warm == ()


def test_a_pod_says_what_it_holds_warm() -> None:
    parameters = {
        "warm": [
            {"version": "1", "digest": OLD_DIGEST, "state": "Ready"},
            {"version": "0", "digest": DIGEST, "state": "Loading"},
        ]
    }
    assert PodView.from_pod({"metadata": {"name": "a"}}, parameters).warm == (("1", OLD_DIGEST),)
    # a pod of an older release says nothing of it
    assert PodView.from_pod({"metadata": {"name": "a"}}, {}).warm == ()


def test_the_number_of_the_last_recorded_act_stays() -> None:
    assert status(new(), before=ServedModelStatus(recorded=7)).recorded == 7

"""What is read from a pod's status, for each way in which a pod dies."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from stage_pods import (
    RUN,
    RUNNING,
    disrupted,
    evicted,
    later,
    no_image,
    out_of_memory,
    pod,
    terminated,
    waiting,
)

from windtunnel.airflow.pod_deaths import PodTry, failure_of, is_over, record_of
from windtunnel.spec.failures import Reason
from windtunnel.spec.stages import RETAIN_DAG

if TYPE_CHECKING:
    from windtunnel.airflow.ending import Failure

NOW = datetime(2013, 2, 1, 10, tzinfo=UTC)


def told(of: dict[str, Any], *, deleted: bool = False) -> Failure:
    failure = failure_of(of, deleted=deleted)
    assert failure is not None
    return failure


def test_a_kill_for_memory_is_told_as_the_operator_would_tell_it() -> None:
    assert told(out_of_memory()).message == (
        "out_of_memory: train used its limit of 2048 MiB; choose a class larger than 'small' in "
        "lifecycle.yaml stages.train.class"
    )


def test_a_kill_for_memory_shows_although_the_pod_succeeded() -> None:
    # So it is on cgroup v1, where the kernel kills the stage and not the worker.
    assert told(pod("Succeeded", container=terminated("OOMKilled", 0))).reason is Reason.OUT_OF_MEMORY


def test_an_eviction_says_what_the_node_was_short_of() -> None:
    failure = told(evicted())
    assert failure.reason is Reason.EVICTED
    assert "The node was low on resource: memory." in failure.what


@pytest.mark.parametrize(
    "status",
    [
        {"reason": "Terminated", "message": "Pod was terminated in response to imminent node shutdown."},
        {"reason": "NodeShutdown", "message": "Pod was rejected as the node is shutting down."},
        {"reason": "Preempting", "message": "Preempted in order to admit critical pod"},
    ],
)
def test_what_a_node_ends_for_its_own_sake_is_evicted(status: dict[str, Any]) -> None:
    failure = told(pod("Failed", **status))
    assert failure.reason is Reason.EVICTED
    assert status["message"] in failure.what


def test_a_drain_is_told_before_the_pod_is_gone() -> None:
    assert told(disrupted()).reason is Reason.EVICTED
    assert told(disrupted(), deleted=True).reason is Reason.EVICTED


def test_a_disruption_that_may_still_be_called_off_is_not_told() -> None:
    of = disrupted()
    del of["metadata"]["deletionTimestamp"]
    assert failure_of(of) is None


def test_a_stage_that_ended_well_before_the_drain_came_is_left_alone() -> None:
    assert failure_of(disrupted("Succeeded")) is None


def test_a_container_that_its_node_lost_is_evicted() -> None:
    lost = terminated(
        "ContainerStatusUnknown", 137, "The container could not be located when the pod was terminated"
    )
    assert told(pod("Failed", container=lost)).reason is Reason.EVICTED


@pytest.mark.parametrize(
    "reason", ["ErrImagePull", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError"]
)
def test_an_image_that_cannot_be_had_is_named(reason: str) -> None:
    failure = told(no_image(reason, 'failed to resolve reference "windtunnel/stage:1.0": not found'))
    assert failure.reason is Reason.IMAGE_PULL
    assert "registry.example.com/windtunnel/stage:1.0" in failure.what
    assert "failed to resolve reference" in failure.what


def test_a_pull_that_only_has_to_wait_its_turn_is_no_failure() -> None:
    busy = no_image("ErrImagePull", "pull QPS exceeded")
    assert failure_of(busy) is None
    assert not is_over(busy)


def test_a_secret_that_is_missing_is_the_platforms() -> None:
    failure = told(pod("Pending", container=waiting("CreateContainerConfigError", 'secret "s3" not found')))
    assert failure.reason is Reason.PLATFORM_ERROR
    assert 'secret "s3" not found' in failure.what


def test_a_node_that_refuses_a_pod_is_the_platforms() -> None:
    failure = told(pod("Failed", reason="UnexpectedAdmissionError", message="Allocate failed"))
    assert failure.reason is Reason.PLATFORM_ERROR
    assert "UnexpectedAdmissionError: Allocate failed" in failure.what


def test_the_pods_own_deadline_is_a_timeout() -> None:
    found = pod("Failed", reason="DeadlineExceeded", message="Pod was active on the node longer than 60 s")
    assert told(found).reason is Reason.TIMEOUT


@pytest.mark.parametrize(
    ("container", "reason", "words"),
    [
        (terminated("Error", 137), Reason.CRASHED, "SIGKILL, not for want of memory"),
        (terminated("Error", 139), Reason.CRASHED, "SIGSEGV"),
        (terminated("Error", 143), Reason.STOPPED, "ended from outside"),
        (terminated("Error", 1), Reason.PLATFORM_ERROR, "Airflow's worker in its pod ended with exit code 1"),
        (terminated("Error", 1, "set stages.worker"), Reason.PLATFORM_ERROR, "1; Error: set stages.worker"),
        (
            terminated("StartError", 128, "exec: python: not found"),
            Reason.PLATFORM_ERROR,
            "python: not found",
        ),
    ],
)
def test_how_the_worker_ended_is_told(container: dict[str, Any], reason: Reason, words: str) -> None:
    failure = told(pod("Failed", container=container))
    assert failure.reason is reason
    assert words in failure.what


def test_a_pod_that_was_deleted_while_it_ran_was_stopped() -> None:
    running = pod(deleting=True, container=RUNNING)
    assert failure_of(running) is None, "its operator has its grace to tell it"
    assert told(running, deleted=True).reason is Reason.STOPPED


@pytest.mark.parametrize(
    "healthy",
    [
        pod("Pending"),
        pod("Pending", container=waiting("ContainerCreating")),
        pod(container=RUNNING),
        pod("Succeeded", container=terminated("Completed", 0)),
    ],
)
def test_a_pod_that_is_well_is_not_spoken_of(healthy: dict[str, Any]) -> None:
    assert failure_of(healthy) is None


@pytest.mark.parametrize("before_it_began", [pod("Pending", deleting=True), no_image(deleting=True)])
def test_a_pod_that_is_deleted_before_it_began_says_nothing_of_the_try(
    before_it_began: dict[str, Any],
) -> None:
    # The executor queues the same try again.
    assert failure_of(before_it_began, deleted=True) is None


def test_a_failing_sidecar_or_init_container_counts_too() -> None:
    injected = {"initContainerStatuses": [{"name": "proxy", "state": waiting("ErrImagePull", "denied")}]}
    assert told(later(pod("Pending"), **injected)).reason is Reason.IMAGE_PULL


def test_no_message_gives_away_what_stands_in_the_pods_arguments() -> None:
    assert "hidden-token" not in told(out_of_memory()).message + told(no_image()).message


def test_a_pod_tells_which_try_it_is_for() -> None:
    made_for = PodTry.of(pod(task_id="materialize.tower", dag_id="wind__features", try_number=2, map_index=3))
    assert made_for == PodTry("wind__features", "materialize.tower", RUN, 2, 3, "wind")
    assert (made_for.stage, made_for.view, made_for.is_stage) == ("materialize", "tower", True)


def test_a_pod_of_the_dag_for_all_is_about_its_lifecycle_and_about_no_view() -> None:
    made_for = PodTry.of(pod(task_id="retain.wind", dag_id=RETAIN_DAG))
    assert made_for is not None
    assert (made_for.lifecycle, made_for.stage, made_for.view, made_for.is_stage) == (
        "wind",
        "retain",
        "",
        True,
    )


def test_pods_of_others_are_none_of_ours() -> None:
    foreign = pod()
    foreign["metadata"]["annotations"] = {}
    assert PodTry.of(foreign) is None


@pytest.mark.parametrize("task_id", ["plan", "approve"])
def test_plans_and_approvals_have_no_stage_records(task_id: str) -> None:
    made_for = PodTry.of(pod(task_id=task_id))
    assert made_for is not None
    assert not made_for.is_stage


def test_the_record_of_a_dead_pod_has_what_the_pod_tells() -> None:
    dead = out_of_memory(task_id="materialize.tower", dag_id="wind__features", try_number=2, map_index=0)
    made_for = PodTry.of(dead)
    assert made_for is not None
    record = record_of(dead, made_for, told(dead), NOW)
    assert record.key("wind") == ("wind/runs/scheduled__2013-02-01T09:00:00+00:00/materialize.tower.0.2.json")
    found = record.to_json()
    assert {name: found[name] for name in ("outcome", "reason", "class", "seconds", "cost")} == {
        "outcome": "failed", "reason": "out_of_memory", "class": "small", "seconds": 300.0, "cost": 0.05,
    }  # fmt: skip


@pytest.mark.parametrize(("dying", "seconds"), [(no_image(), 0.0), (disrupted(), 3590.0)])
def test_what_a_pod_cost_is_from_the_moment_on_at_which_it_ran(dying: dict[str, Any], seconds: float) -> None:
    made_for = PodTry.of(dying)
    assert made_for is not None
    record = record_of(dying, made_for, told(dying), NOW)
    assert (record.ended, record.usage.seconds) == (NOW, seconds)

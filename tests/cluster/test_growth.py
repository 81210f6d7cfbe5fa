"""What keeps many lifecycles even, on the cluster: pools, the queue, and old runs taken out."""

from __future__ import annotations

import time
from typing import Any

from tests.cluster.release import LIFECYCLE, NAMESPACE, RELEASE, Thread


def tasks_of(thread: Thread, dag: str, run_id: str) -> list[dict[str, Any]]:
    path = f"/dags/{LIFECYCLE}__{dag}/dagRuns/{run_id}/taskInstances"
    return list(thread.platform.api.call("GET", path, params={"limit": 100})["task_instances"])


def status_of(thread: Thread, job: str) -> dict[str, Any]:
    return dict(thread.platform.kubectl.json("get", "job", job, "-n", NAMESPACE).get("status", {}))


def test_every_stage_took_a_place_of_its_class(thread: Thread) -> None:
    pools = {pool["name"]: pool for pool in thread.platform.api.call("GET", "/pools")["pools"]}
    assert {"stage-small", "stage-large", "stage-rollout"} <= set(pools)
    assert all(pools[name]["slots"] >= 1 for name in pools)
    taken = {task["task_id"]: task["pool"] for task in tasks_of(thread, "train", thread.train.run_id)}
    assert taken == {
        "snapshot": "stage-small",
        "train": "stage-large",
        "evaluate": "stage-small",
        "rollout": "stage-rollout",
    }


def test_tasks_stand_where_their_run_began_whoever_made_them(thread: Thread) -> None:
    """The api-server made those of the features run; the scheduler the mapped ones and the training's."""
    features = tasks_of(thread, "features", thread.features.run_id)
    train = tasks_of(thread, "train", thread.train.run_id)
    first = max(task["priority_weight"] for task in features)
    assert first < -180_000_000, "seconds since 2020, negated"
    for task in features:
        assert first - task["priority_weight"] - 60 * max(0, task["map_index"]) <= 60, task["task_id"]
    assert max(task["priority_weight"] for task in train) < first, "it came later"


def test_old_runs_are_taken_out_and_the_others_stay(thread: Thread) -> None:
    before = {run["dag_run_id"] for run in thread.platform.api.runs(f"{LIFECYCLE}__train")}
    kubectl, job = thread.platform.kubectl, f"retention-{int(time.time())}"
    kubectl.run("create", "job", job, f"--from=cronjob/{RELEASE}-airflow-retention", "-n", NAMESPACE)
    try:
        deadline = time.monotonic() + 600
        while not (status := status_of(thread, job)).get("succeeded"):
            assert not status.get("failed"), kubectl.run("logs", f"job/{job}", "-n", NAMESPACE, "--tail=40")
            assert time.monotonic() < deadline, status
            time.sleep(2)
        log = kubectl.run("logs", f"job/{job}", "-n", NAMESPACE, "--tail=200")
        assert "Checking table dag_run" in log
        assert "Checking table dag\n" not in log
    finally:
        kubectl.run("delete", "job", job, "-n", NAMESPACE, "--ignore-not-found")
    assert before <= {run["dag_run_id"] for run in thread.platform.api.runs(f"{LIFECYCLE}__train")}

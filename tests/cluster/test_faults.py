"""Pulling the plug: what dies is replaced, and nothing happens twice."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import timedelta

from dev.demo.follow import follow
from tests.cluster.dying import evict, recorded
from tests.cluster.release import END, LIFECYCLE, NAMESPACE, RELEASE, Thread

from windtunnel.ledger import Ledger

DAG = f"{LIFECYCLE}__train"


def start_train(thread: Thread, **params: object) -> str:
    """A run of the train DAG that does its work again (`force`), so that there is something to interrupt."""
    thread.platform.api.unpause(DAG)
    return thread.platform.api.trigger(DAG, {"end": END.isoformat(), "force": True, **params})


def wait_for_running_pod(thread: Thread, run_id: str, stage: str) -> str:
    """The name of the stage's pod once its task runs."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        for task in thread.platform.api.task_runs(DAG, run_id):
            if task.task_id == stage and task.state == "running" and task.pod:
                return task.pod
        time.sleep(0.3)
    raise AssertionError(f"{stage} of {run_id} did not start within 300 s")


def served_model(thread: Thread) -> dict:
    return thread.platform.kubectl.json("get", "servedmodel", "flight-delay", "-n", NAMESPACE)


def test_a_train_pod_that_is_drained_is_tried_again_and_the_log_says_why(
    thread: Thread,
) -> None:
    run_id = start_train(thread)
    pod = wait_for_running_pod(thread, run_id, "train")
    evict(thread.platform, pod)
    ended = follow(thread.platform, thread.pods, DAG, run_id)
    train = next(task for task in ended.tasks if task.task_id == "train")
    assert train.state == "success"
    assert train.try_number == 2
    assert train.pod != pod
    assert recorded(thread.platform, run_id, "evicted")["stage"] == "train"
    # Airflow itself would say "Pod failed because of None".
    told = thread.platform.api.error(DAG, run_id, replace(train, try_number=1))
    assert told.startswith("evicted: train: the cluster took its pod away")


def test_a_restart_of_the_scheduler_in_mid_run_loses_nothing(thread: Thread) -> None:
    run_id = start_train(thread)
    wait_for_running_pod(thread, run_id, "snapshot")
    thread.platform.kubectl.run(
        "rollout", "restart", f"deployment/{RELEASE}-airflow-scheduler", "-n", NAMESPACE
    )
    ended = follow(thread.platform, thread.pods, DAG, run_id)
    assert {task.state for task in ended.tasks} <= {"success", "skipped"}
    assert {task.try_number for task in ended.tasks if task.state == "success"} == {1}


def test_the_rollout_run_twice_promotes_once(thread: Thread) -> None:
    api, run_id = thread.platform.api, thread.train.run_id
    before = served_model(thread)
    ledger = list(Ledger(thread.platform.store, LIFECYCLE).entries())
    cleared = {
        "dry_run": False,
        "dag_run_id": run_id,
        "task_ids": ["rollout"],
        "reset_dag_runs": True,
        "only_failed": False,
    }
    api.call("POST", f"/dags/{DAG}/clearTaskInstances", json=cleared)
    ended = follow(thread.platform, thread.pods, DAG, run_id)
    rollout = next(task for task in ended.tasks if task.task_id == "rollout")
    assert (rollout.state, rollout.try_number) == ("success", 2)
    assert served_model(thread)["spec"]["champion"] == before["spec"]["champion"]
    assert list(Ledger(thread.platform.store, LIFECYCLE).entries()) == ledger


def test_a_second_features_run_over_the_same_days_does_no_work_twice(
    thread: Thread,
) -> None:
    platform = thread.platform
    dag_id = f"{LIFECYCLE}__features"
    days = {"start": str(END - timedelta(days=10)), "end": str(END)}
    for run in [platform.api.trigger(dag_id, days) for _ in range(2)]:
        ended = follow(platform, thread.pods, dag_id, run)
    for task in ended.tasks:
        if task.task_id in ("extract", "transform"):
            assert platform.api.result(dag_id, ended.run_id, task.task_id, task.map_index)["cached"] is True

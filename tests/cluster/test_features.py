"""Features on the cluster: slices in parallel pods, a store that dies under them, and past days."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace
from datetime import date, timedelta
from typing import TYPE_CHECKING

import pytest
from dev.demo.ask import ask
from dev.demo.follow import follow
from dev.demo.target import ROOT
from dev.demo.thread import asked_at, load_sources
from tests.cluster.online import (
    VALKEY,
    assert_newest_values_are_stored,
    everything_stored,
    markers,
    online_client,
    views,
)
from tests.cluster.release import END, LIFECYCLE, NAMESPACE, RELEASE, START, Thread

from windtunnel.features.freshness import read_freshness

if TYPE_CHECKING:
    from windtunnel.cli.airflow_api import TaskRun

FEATURES, TRAIN = f"{LIFECYCLE}__features", f"{LIFECYCLE}__train"
WHOLE = f"{START}..{END}"


def start_features(thread: Thread, **params: object) -> str:
    days = {"start": START.isoformat(), "end": END.isoformat()}
    return thread.platform.api.trigger(FEATURES, {**days, **params})


def wait_for_quiet_training(thread: Thread) -> set[str]:
    """Wait until no training runs or is about to; the ids of all that ever did.

    Fresh features start a training within seconds: one that is not there after ten does not come.
    """
    deadline = time.monotonic() + 600
    quiet_since = time.monotonic()
    while time.monotonic() - quiet_since < 10:
        assert time.monotonic() < deadline, "a training does not end"
        runs = thread.platform.api.runs(TRAIN)
        if any(run["state"] in ("queued", "running") for run in runs):
            quiet_since = time.monotonic()
        time.sleep(1)
    return {run["dag_run_id"] for run in runs}


@pytest.fixture(autouse=True)
def trainings(thread: Thread) -> set[str]:
    """Those that were there before the test: what an earlier one set off has ended."""
    return wait_for_quiet_training(thread)


def test_a_run_of_several_slices_fills_the_online_store_and_marks_every_view(thread: Thread) -> None:
    ended = follow(thread.platform, thread.pods, FEATURES, start_features(thread, from_stage="transform"))
    assert {task.state for task in ended.tasks} == {"success"}
    slices = [task.slice for task in ended.tasks if task.task_id == "transform"]
    assert sorted(slices) == [
        f"{START + timedelta(days=first)} to {START + timedelta(days=first + 13)}" for first in (0, 14, 28)
    ]
    pods = [task.pod for task in ended.tasks]
    assert len(set(pods)) == len(pods)
    with online_client(thread.platform) as client:
        for view in views():
            marker = markers(client, view)[WHOLE]
            assert "writing" not in marker
            assert marker["rows"] > 0
    assert_newest_values_are_stored(thread.platform)


def test_how_fresh_every_view_is_can_be_read(thread: Thread) -> None:
    found = read_freshness(thread.platform.store, LIFECYCLE)
    assert set(found) == set(views())
    for freshness in found.values():
        assert freshness.newest_event
        assert freshness.newest_event.date() >= END
        assert freshness.end == str(END)


def test_valkey_killed_in_mid_materialization_costs_a_retry_and_no_value(thread: Thread) -> None:
    platform = thread.platform
    run_id = start_features(thread, from_stage="materialize")
    wait_until_a_slice_is_being_written(thread, run_id)
    platform.kubectl.run("delete", "pod", f"{VALKEY}-0", "-n", NAMESPACE, "--grace-period=0", "--force")
    # Down until a stage has noticed: by itself it might be back before any does.
    scale_valkey(thread, 0)
    try:
        hit = wait_for_a_failed_try(thread, run_id)
    finally:
        scale_valkey(thread, 1)
    for _, tasks in platform.api.watch(FEATURES, run_id):
        last = tasks
    assert "online store" in platform.api.error(FEATURES, run_id, replace(hit, try_number=1))
    if platform.api.state(FEATURES, run_id) == "failed":
        # What had ended well was lost with the last second before the kill: then publish says so.
        (failed,) = [task for task in last if task.state == "failed"]
        assert failed.task_id == "publish"
        assert "online store" in platform.api.error(FEATURES, run_id, failed)
        run_id = start_features(thread)
    ended = follow(platform, thread.pods, FEATURES, run_id)
    assert {task.state for task in ended.tasks} == {"success"}
    with online_client(platform) as client:
        assert all("writing" not in markers(client, view)[WHOLE] for view in views())
    assert_newest_values_are_stored(platform)


def test_a_backfill_of_older_days_disturbs_nothing_and_starts_no_training(
    thread: Thread, trainings: set[str]
) -> None:
    platform = thread.platform
    first, last = date(2013, 1, 1), END - timedelta(days=3)
    load_sources(platform, LIFECYCLE, first, last)
    stored = everything_stored(platform)
    before, _ = ask(platform, LIFECYCLE, asked_at(END))
    said = backfill(thread, first, last)
    assert "no training was started" in said
    assert wait_for_quiet_training(thread) == trainings
    after, _ = ask(platform, LIFECYCLE, asked_at(END))
    assert (after.value, after.version) == (before.value, before.version)
    now = everything_stored(platform)
    assert {at: now.get(at) for at in stored} == stored
    assert all(found.end == str(END) for found in read_freshness(platform.store, LIFECYCLE).values())
    with online_client(platform) as client:
        assert all(f"{first}..{last}" in markers(client, view) for view in views())
    days = {entry.key for entry in platform.store.list(f"{LIFECYCLE}/features/route/")}
    assert f"{LIFECYCLE}/features/route/{first}.parquet" in days


def wait_until_a_slice_is_being_written(thread: Thread, run_id: str) -> None:
    """Until a view has a claim: its stage has begun and has not ended."""
    deadline = time.monotonic() + 300
    with online_client(thread.platform) as client:
        while time.monotonic() < deadline:
            if any("writing" in marker for view in views() for marker in markers(client, view).values()):
                return
            assert thread.platform.api.state(FEATURES, run_id) in ("queued", "running")
            time.sleep(0.1)
    raise AssertionError(f"no materialization of {run_id} began within 300 s")


def wait_for_a_failed_try(thread: Thread, run_id: str) -> TaskRun:
    """The first materialize task whose first try failed."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        tasks = thread.platform.api.task_runs(FEATURES, run_id)
        materialize = [task for task in tasks if task.task_id.startswith("materialize.")]
        for task in materialize:
            if task.state in ("up_for_retry", "failed") or task.try_number > 1:
                return task
        assert not all(task.state == "success" for task in materialize), "the kill came too late"
        time.sleep(0.5)
    raise AssertionError(f"no materialization of {run_id} noticed within 300 s")


def scale_valkey(thread: Thread, replicas: int) -> None:
    kubectl = thread.platform.kubectl
    kubectl.run("scale", f"statefulset/{VALKEY}", "-n", NAMESPACE, f"--replicas={replicas}")
    if replicas:
        kubectl.run(
            "rollout", "status", f"statefulset/{VALKEY}", "-n", NAMESPACE, "--timeout=120s", timeout=130
        )


def backfill(thread: Thread, first: date, last: date) -> str:
    """What `windtunnel backfill --airflow` printed; it must have ended well."""
    platform = thread.platform
    admin = f"{RELEASE}-airflow-admin"
    login = {
        f"WINDTUNNEL_AIRFLOW_{name.upper()}": platform.kubectl.secret(NAMESPACE, admin, name)
        for name in ("username", "password")
    }
    done = subprocess.run(
        [
            sys.executable, "-m", "windtunnel.cli", "backfill", LIFECYCLE,
            "--from", str(first), "--to", str(last), "--airflow", platform.api.url,
        ],
        cwd=ROOT,
        env={**os.environ, **login},
        capture_output=True,
        text=True,
        check=False,
        timeout=1800,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout

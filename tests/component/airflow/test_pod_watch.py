"""The watcher of stage pods on an API server and an object store: what dies is told, once, and to the end."""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from pod_server import NAMESPACE, PodServer, pod_server
from stage_pods import RUN, RUNNING, disrupted, evicted, later, no_image, out_of_memory, pod, terminated

from windtunnel.airflow.pod_watch import KEPT, Death, PodWatch
from windtunnel.errors import StoreError
from windtunnel.kube import KubernetesApi
from windtunnel.records import read_records

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from windtunnel.objects import ObjectStore

LOG = f"logs/dag_id=wind__train/run_id={RUN}/task_id=train/attempt=1.log"


@pytest.fixture
def server() -> Iterator[PodServer]:
    with pod_server() as server:
        server.closes = True
        yield server


@pytest.fixture
def watch(server: PodServer, store: ObjectStore) -> PodWatch:
    return new_watch(server, store)


def new_watch(server: PodServer, store: ObjectStore) -> PodWatch:
    return PodWatch(KubernetesApi("127.0.0.1", server.server_port, None, "default"), NAMESPACE, store)


def reasons(store: ObjectStore) -> list[str]:
    return [record["reason"] for record in read_records(store, "wind")]


def lines(store: ObjectStore, log: str = LOG) -> list[dict[str, Any]]:
    """What is added to the log of the try; an api-server reads every object whose name begins with it."""
    added = [entry.key for entry in store.list("logs") if entry.key.startswith(log)]
    return [json.loads(line) for key in added for line in store.get(key).splitlines()]


def test_a_death_is_in_the_record_and_in_the_log_of_the_try(
    server: PodServer, watch: PodWatch, store: ObjectStore
) -> None:
    alive = pod(container=RUNNING)
    server.put(alive)
    version = watch.look()
    assert reasons(store) == []
    server.put(later(alive, **out_of_memory()["status"]))
    watch.follow(version)
    assert reasons(store) == ["out_of_memory"]
    [line] = lines(store)
    assert line["event"].startswith("out_of_memory: train used its limit of 2048 MiB")
    assert line["level"] == "error"


def test_what_died_while_nobody_watched_is_told_after_a_restart_and_only_once(
    server: PodServer, store: ObjectStore
) -> None:
    server.put(evicted())
    for _ in range(2):
        new_watch(server, store).look()
    assert reasons(store) == ["evicted"]
    assert len(lines(store)) == 1


def test_a_watcher_that_died_between_record_and_line_adds_the_line_when_it_is_back(
    server: PodServer, watch: PodWatch, store: ObjectStore
) -> None:
    server.put(evicted())
    watch.look()
    for entry in store.list("logs"):
        store.delete(entry.key)
    new_watch(server, store).look()
    assert len(lines(store)) == 1


def test_what_the_stage_said_of_itself_stays(server: PodServer, watch: PodWatch, store: ObjectStore) -> None:
    key = f"wind/runs/{RUN}/train.1.json"
    said = {
        "stage": "train",
        "started": "2013",
        "outcome": "failed",
        "reason": "user_exception",
        "error": "mine",
    }
    store.put(key, json.dumps(said).encode())
    server.put(pod("Succeeded", container=terminated("OOMKilled", 0)))
    watch.look()
    assert json.loads(store.get(key)) == said
    assert lines(store) == []


def test_a_drain_is_the_reason_although_the_stage_knew_only_that_it_was_stopped(
    server: PodServer, watch: PodWatch, store: ObjectStore
) -> None:
    key = f"wind/runs/{RUN}/train.1.json"
    said = {"stage": "train", "started": "2013", "outcome": "failed", "reason": "stopped", "cpu_seconds": 7.5}
    store.put(key, json.dumps(said).encode())
    dying = disrupted()
    server.put(dying)
    version = watch.look()
    server.remove(dying)
    watch.follow(version)
    record = json.loads(store.get(key))
    assert (record["reason"], record["cpu_seconds"]) == ("evicted", 7.5)
    assert len(lines(store)) == 1


def test_a_plan_that_dies_has_a_line_and_no_stage_record(
    server: PodServer, watch: PodWatch, store: ObjectStore
) -> None:
    server.put(no_image(task_id="plan", dag_id="wind__features"))
    watch.look()
    assert store.list("wind") == []
    [line] = lines(store, f"logs/dag_id=wind__features/run_id={RUN}/task_id=plan/attempt=1.log")
    assert line["event"].startswith("image_pull: plan")


def test_a_pod_whose_try_goes_on_in_another_one_is_not_its_end(
    server: PodServer, watch: PodWatch, store: ObjectStore
) -> None:
    server.put(pod(container=RUNNING), pod("Failed", container=terminated("Error", 1)))
    watch.look()
    assert reasons(store) == []
    assert lines(store) == []


def test_deaths_wait_for_a_store_that_is_away(
    server: PodServer, watch: PodWatch, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(key: str, data: bytes) -> bool:
        raise StoreError(f"{key} {len(data)}")

    dead = evicted()
    with monkeypatch.context() as patch:
        patch.setattr(store, "put_new", away)
        server.put(dead)
        version = watch.look()
        server.remove(dead)
        watch.follow(version)
    assert reasons(store) == []
    watch.tidy()
    assert reasons(store) == ["evicted"]


def test_a_run_whose_id_is_no_key_holds_up_no_other_death(
    server: PodServer, watch: PodWatch, store: ObjectStore
) -> None:
    odd = no_image(task_id="plan")
    odd["metadata"]["annotations"]["run_id"] = "a/../b"
    server.put(odd, evicted())
    watch.look()
    assert reasons(store) == ["evicted"]


def test_a_pod_that_cannot_be_understood_holds_up_no_other(
    server: PodServer, watch: PodWatch, store: ObjectStore
) -> None:
    server.put(pod("Failed", containerStatuses="not a list"), evicted())
    watch.look()
    assert reasons(store) == ["evicted"]


def test_many_pods_come_in_pages(server: PodServer, watch: PodWatch, store: ObjectStore) -> None:
    server.page = 2
    server.put(*(evicted(try_number=number) for number in range(1, 6)))
    watch.look()
    assert (server.lists, len(reasons(store))) == (3, 5)


def test_a_watch_that_the_server_has_forgotten_begins_anew(
    server: PodServer, watch: PodWatch, store: ObjectStore
) -> None:
    version = watch.look()
    server.put(evicted())
    server.forgotten = 1
    assert watch.follow(version) == ""
    watch.look()
    assert reasons(store) == ["evicted"]


def test_pods_that_ended_long_ago_are_deleted_and_no_others(server: PodServer, watch: PodWatch) -> None:
    alive = [pod(container=RUNNING), pod("Pending")]
    server.put(*alive, evicted(), no_image(try_number=2), pod("Succeeded", try_number=3))
    watch.look()
    assert len(server.pods) == 5, f"people may look at them for {KEPT} s"
    watch.tidy(kept=0)
    assert list(server.pods) == [one["metadata"]["uid"] for one in alive]


def test_a_new_pod_of_an_old_name_is_not_deleted(server: PodServer, watch: PodWatch) -> None:
    old = evicted()
    server.put(old)
    watch.look()
    new = pod(container=RUNNING)
    new["metadata"]["name"] = old["metadata"]["name"]
    server.pods = {new["metadata"]["uid"]: new}
    watch.tidy(kept=0)
    assert list(server.pods) == [new["metadata"]["uid"]]


def test_nothing_is_kept_of_pods_that_are_gone(server: PodServer, watch: PodWatch) -> None:
    version = watch.look()
    for number in range(300):
        dead = evicted(try_number=number + 1)
        server.put(dead)
        server.remove(dead)
    watch.follow(version)
    gc.collect()
    assert not [one for one in gc.get_objects() if isinstance(one, Death)]
    held = [len(found) for found in vars(watch).values() if isinstance(found, dict | set)]
    assert held == [0] * len(held)


def test_as_a_process_it_watches_until_it_is_told_to_end(
    server: PodServer, store: ObjectStore, tmp_path: Path
) -> None:
    config = {
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": server.address}}],
        "users": [{"name": "u", "user": {}}],
    }
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
    server.closes = False
    environment = {
        **os.environ,
        "KUBECONFIG": str(tmp_path / "kubeconfig"),
        "WINDTUNNEL_STORE": store.url,
        "AIRFLOW__KUBERNETES_EXECUTOR__NAMESPACE": NAMESPACE,
    }
    command = [sys.executable, "-m", "windtunnel.airflow.pod_watch", str(tmp_path / "alive")]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 60
        while not server.lists and time.monotonic() < deadline:
            time.sleep(0.02)
        server.put(evicted())
        while not lines(store) and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert reasons(store) == ["evicted"]
    assert (tmp_path / "alive").exists()
    assert "evicted: train" in output
    assert "hidden-token" not in output

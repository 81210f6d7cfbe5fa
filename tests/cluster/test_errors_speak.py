"""Each way to fail has its reason in the stage record, and in the log of the try as Airflow shows it.

Pods die here by the kernel, the kubelet and the eviction API themselves, and are made as the executor makes
them; a drain in mid-run is in test_faults.
"""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from tests.cluster.dying import evict, recorded
from tests.cluster.release import LIFECYCLE, NAMESPACE, STAGES, Thread

from windtunnel.errors import NotFoundError
from windtunnel.spec.log_keys import log_key, pod_log_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dev.demo.thread import Platform

TRAIN, FEATURES = f"{LIFECYCLE}__train", f"{LIFECYCLE}__features"
HUNGRY = "held = []\nwhile True:\n    held.append(bytearray(8 << 20))"
IDLE = "import time\ntime.sleep(600)"


def stage_pod(platform: Platform, run_id: str, code: str) -> dict[str, Any]:
    """A pod of the train stage as the executor makes it, with other code in it."""
    maps = platform.kubectl.json("get", "configmaps", "-n", NAMESPACE)["items"]
    found = next(item["data"] for item in maps if "rollout.yaml" in (item.get("data") or {}))
    pod: dict[str, Any] = yaml.safe_load(found["small.yaml"])
    metadata = pod["metadata"]
    metadata |= {"name": run_id.replace("_", "-"), "namespace": STAGES}
    metadata["annotations"] = {"dag_id": TRAIN, "task_id": "train", "run_id": run_id, "try_number": "1"}
    own = {
        "kubernetes_executor": "True",
        "windtunnel.dev/lifecycle": LIFECYCLE,
        "windtunnel.dev/stage": "train",
    }
    metadata["labels"] |= own
    pod["spec"]["terminationGracePeriodSeconds"] = 1
    container = pod["spec"]["containers"][0]
    container["command"] = ["python", "-c", code]
    container["resources"] = {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "64Mi"}}
    return pod


def start(platform: Platform, pod: dict[str, Any]) -> str:
    platform.kubectl.run("apply", "-f", "-", stdin=json.dumps(pod))
    return str(pod["metadata"]["name"])


def added_line(platform: Platform, run_id: str) -> str:
    """What the watcher added to the log of the first try of train."""
    key = pod_log_key(log_key(TRAIN, run_id, "train", None, 1))
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            return str(json.loads(platform.store.get(key))["event"])
        except NotFoundError:
            time.sleep(0.2)
    raise AssertionError(f"{key} is not there after 10 s")


@pytest.fixture
def stage_pods(platform: Platform) -> Iterator[dict[str, str]]:
    """Run ids of three pods that die in three ways, by how they do; they die at the same time."""
    now = f"{datetime.now(UTC):%H%M%S}"
    run_ids = {how: f"dies-{how}-{now}" for how in ("hungry", "drained", "imageless")}
    idle = start(platform, stage_pod(platform, run_ids["drained"], IDLE))
    start(platform, stage_pod(platform, run_ids["hungry"], HUNGRY))
    imageless = stage_pod(platform, run_ids["imageless"], IDLE)
    imageless["spec"]["containers"][0]["image"] = "windtunnel/there-is-none:0"
    start(platform, imageless)
    platform.kubectl.run(
        "wait",
        f"pod/{idle}",
        "-n",
        STAGES,
        "--for=jsonpath={.status.phase}=Running",
        "--timeout=60s",
        timeout=70,
    )
    evict(platform, idle)
    yield run_ids
    platform.kubectl.run(
        "delete", "pod", *run_ids.values(), "-n", STAGES, "--ignore-not-found", "--wait=false"
    )


def test_pods_that_die_whole_are_told_apart(platform: Platform, stage_pods: dict[str, str]) -> None:
    expected = {
        "hungry": ("out_of_memory", "used its limit of 64 MiB; choose a class larger than 'small'"),
        "drained": ("evicted", "the cluster took its pod away: EvictionByEvictionAPI"),
        "imageless": ("image_pull", "the image windtunnel/there-is-none:0 of its pod cannot be had"),
    }
    for how, (reason, words) in expected.items():
        record = recorded(platform, stage_pods[how], reason)
        assert words in record["error"], how
        assert (record["outcome"], record["stage"], record["class"]) == ("failed", "train", "small")
        assert added_line(platform, stage_pods[how]) == f"{reason}: {record['error']}"


def test_data_that_is_not_there_is_a_data_error_everywhere(thread: Thread) -> None:
    api = thread.platform.api
    run_id = api.trigger(FEATURES, {"start": "2001-01-01", "end": "2001-01-02"})
    for _, tasks in api.watch(FEATURES, run_id):
        last = tasks
    [extract] = [task for task in last if task.task_id == "extract"]
    assert (extract.state, extract.try_number) == ("failed", 1), "a retry cannot help"
    assert api.error(FEATURES, run_id, extract).startswith("data_error: extract: ")
    assert recorded(thread.platform, run_id, "data_error")["stage"] == "extract"

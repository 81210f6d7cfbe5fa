"""A ServedModel on the cluster as a person drives it: by kubectl."""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx
from dev.demo.install import explain
from served_bundle import FEATURES
from tests.cluster.release import NAMESPACE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dev.demo.kubectl import Kubectl

    from windtunnel.spec.servedmodel import ModelVersion

PROVING = "proving"
"""A lifecycle of its own for what is done to serving: no stage ever runs for it."""
ROW = [0.1, 2.0, 0.3, 4.0, 0.5]
SERVING_LABEL = "windtunnel.dev/served-model"


class Served:
    """One ServedModel in the release's namespace."""

    def __init__(self, kubectl: Kubectl, lifecycle: str) -> None:
        self.kubectl = kubectl
        self.lifecycle = lifecycle
        self.name = lifecycle.replace("_", "-")
        self.infer = f"/v2/models/{lifecycle}/infer"

    def get(self) -> dict[str, Any]:
        found: dict[str, Any] = self.kubectl.json("get", "servedmodel", self.name, "-n", NAMESPACE)
        return found

    @property
    def spec(self) -> dict[str, Any]:
        found: dict[str, Any] = self.get()["spec"]
        return found

    @property
    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.get().get("status", {})
        return found

    def create(self, champion: ModelVersion, **spec: Any) -> None:
        value = {
            "apiVersion": "windtunnel.dev/v1alpha1",
            "kind": "ServedModel",
            "metadata": {"name": self.name, "namespace": NAMESPACE},
            "spec": {"lifecycle": self.lifecycle, "champion": seat(champion), **spec},
        }
        self.kubectl.run("apply", "-f", "-", stdin=json.dumps(value))

    def delete(self) -> None:
        """Returns when its pods are gone, too."""
        gone = ("--ignore-not-found", "--cascade=foreground", "--timeout=120s")
        self.kubectl.run("delete", "servedmodel", self.name, "-n", NAMESPACE, *gone, timeout=130)

    def patch(self, spec: dict[str, Any]) -> None:
        change = json.dumps({"spec": spec})
        self.kubectl.run("patch", "servedmodel", self.name, "-n", NAMESPACE, "--type=merge", "-p", change)

    def annotate(self, name: str, value: str) -> None:
        pair = f"{name}={value}"
        self.kubectl.run("annotate", "servedmodel", self.name, "-n", NAMESPACE, pair, "--overwrite")

    def canary(self, challenger: ModelVersion, traffic: int, **spec: Any) -> None:
        """Give a challenger traffic once every pod has it."""
        self.patch({"challenger": seat(challenger), "traffic": 0, "shadow": False, **spec})
        self.wait(f"challenger {challenger.version} is ready", lambda: self.has_ready(challenger.version))
        self.patch({"traffic": traffic})

    def has_ready(self, version: str) -> bool:
        told = self.get().get("status", {}).get("challenger", {})
        return bool(told.get("version") == version and told.get("state") == "Ready")

    def state(self) -> str:
        return str(self.get().get("status", {}).get("challenger", {}).get("state", ""))

    def clear(self) -> None:
        """Take the challenger out."""
        self.patch({"challenger": None, "traffic": 0, "shadow": False, "rollout": None})
        self.wait("the challenger is gone", lambda: "challenger" not in self.get().get("status", {}))

    def healthy(self) -> dict[str, Any]:
        """The condition ChallengerHealthy."""
        conditions = self.get().get("status", {}).get("conditions", [])
        return next((c for c in conditions if c["type"] == "ChallengerHealthy"), {})

    def serves(self, version: str, replicas: int) -> bool:
        """Whether so many pods, all of them, are ready and serve the version by the status."""
        status = self.get().get("status", {})
        ready = f"{replicas}/{replicas}"
        return bool(
            status.get("phase") == "Ready" and status.get("champion") == version and status["ready"] == ready
        )

    def pods(self) -> list[dict[str, Any]]:
        selector = f"{SERVING_LABEL}={self.name}"
        found: list[dict[str, Any]] = self.kubectl.json("get", "pods", "-n", NAMESPACE, "-l", selector)[
            "items"
        ]
        return found

    def pod_names(self) -> list[str]:
        return [pod["metadata"]["name"] for pod in self.pods()]

    def settled(self, replicas: int) -> bool:
        """Whether there are just so many pods, ready, and none that is about to go."""
        pods = self.pods()
        return len(pods) == replicas and all(is_ready(pod) for pod in pods)

    def restarts(self) -> int:
        statuses = [status for pod in self.pods() for status in pod["status"].get("containerStatuses", [])]
        return sum(status["restartCount"] for status in statuses)

    def address(self) -> tuple[str, int]:
        """The Service's own address: this machine is the node, so kube-proxy's rules hold for it."""
        service = self.kubectl.json("get", "service", self.name, "-n", NAMESPACE)["spec"]
        return service["clusterIP"], service["ports"][0]["port"]

    def answers(self) -> bool:
        """Whether its Service leads to a pod yet: that takes kube-proxy a moment after the pods are ready."""
        host, port = self.address()
        try:
            return httpx.get(f"http://{host}:{port}/v2/health/ready", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    def wait(self, what: str, true: Callable[[], bool], seconds: float = 60) -> float:
        """Seconds until it was true. Raises AssertionError with the object as it is."""
        began = time.monotonic()
        while not true():
            if time.monotonic() - began > seconds:
                state = json.dumps(self.get(), indent=1)
                raise AssertionError(
                    f"not within {seconds:.0f} s: {what}\n{state}\n{explain(self.kubectl, NAMESPACE)}"
                )
            time.sleep(0.2)
        return time.monotonic() - began


@contextmanager
def served(kubectl: Kubectl, lifecycle: str, champion: ModelVersion, replicas: int) -> Iterator[Served]:
    """A ServedModel of a test's own, ready; gone with its pods afterwards."""
    found = Served(kubectl, lifecycle)
    found.create(champion, serving={"replicas": replicas})
    try:
        found.wait("it serves", lambda: found.serves(champion.version, replicas), 120)
        found.wait("it answers", found.answers)
        yield found
    finally:
        found.delete()


def seat(version: ModelVersion) -> dict[str, Any]:
    """A version as the ServedModel has it."""
    return version.model_dump(mode="json", by_alias=True)


def is_ready(pod: dict[str, Any]) -> bool:
    conditions = pod["status"].get("conditions", [])
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
    return ready and "deletionTimestamp" not in pod["metadata"]


def columns(*rows: list[float]) -> dict[str, Any]:
    """A request of these rows for a model of tests/support/served_bundle, one tensor per feature."""
    return {
        "inputs": [
            {"name": name, "datatype": "FP64", "shape": [len(rows)], "data": [row[number] for row in rows]}
            for number, name in enumerate(FEATURES)
        ]
    }

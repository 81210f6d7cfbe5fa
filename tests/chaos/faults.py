"""The faults themselves, on the one-node cluster."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import TYPE_CHECKING, Final

from dev.demo.kubectl import KubectlError
from dev.demo.target import ROOT
from tests.cluster.release import NAMESPACE, RELEASE, STAGES
from tests.cluster.served import SERVING_LABEL

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from dev.demo.kubectl import Kubectl
    from tests.chaos.plan import Fault

_CLUSTER: Final = [sys.executable, str(ROOT / "dev/cluster/cluster.py")]
_PATIENCE: Final = 90.0
"""Seconds that the harness's own calls go on while the API server is away."""
_POD_SECONDS: Final = 30.0
_COMPONENTS: Final = {
    "controller": "controller",
    "Airflow scheduler": "airflow-scheduler",
    "Airflow API server": "airflow-api-server",
}
_STORES: Final = {
    "Postgres": f"statefulset/{RELEASE}-postgres",
    "Valkey": f"statefulset/{RELEASE}-valkey",
    "object store": f"statefulset/{RELEASE}-object-store",
    "MLflow": f"deployment/{RELEASE}-mlflow",
}


class Injector:
    """`inject` returns when what was hit may come back; whether it has is for others to wait for."""

    def __init__(self, kubectl: Kubectl, served: str) -> None:
        self._kubectl = kubectl
        self._served = served

    def inject(self, fault: Fault) -> bool:
        """False when there was nothing to hit."""
        if fault.kind == "API server":
            return self._end_api_server(fault.seconds)
        if fault.kind in _STORES:
            return self._take_away(_STORES[fault.kind], fault.seconds)
        if fault.kind == "rollout pod":
            return self._kill(STAGES, "task_id=rollout", _POD_SECONDS)
        if fault.kind == "serving pod":
            # Not by force: whoever pulls its plug cuts off the requests that are in it.
            return self._kill(NAMESPACE, f"{SERVING_LABEL}={self._served}", _POD_SECONDS, by_force=False)
        component = _COMPONENTS[fault.kind]
        return self._kill(NAMESPACE, f"app.kubernetes.io/component={component}", _POD_SECONDS)

    def _kill(self, namespace: str, selector: str, seconds: float, *, by_force: bool = True) -> bool:
        """Delete the first running pod, as soon as there is one."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for pod in self._pods(namespace, selector):
                if pod["status"]["phase"] == "Running" and "deletionTimestamp" not in pod["metadata"]:
                    self._delete(pod, by_force=by_force)
                    return True
            time.sleep(0.3)
        return False

    def _take_away(self, workload: str, seconds: float) -> bool:
        """No pods for so long, the present ones killed at once."""
        component = workload.rpartition(f"{RELEASE}-")[2]
        self._scale(workload, 0)
        try:
            for pod in self._pods(NAMESPACE, f"app.kubernetes.io/component={component}"):
                self._delete(pod, by_force=True)
            time.sleep(seconds)
        finally:
            self._scale(workload, 1)
        return True

    def _pods(self, namespace: str, selector: str) -> list[dict[str, Any]]:
        found = patiently(lambda: self._kubectl.json("get", "pods", "-n", namespace, "-l", selector))
        pods: list[dict[str, Any]] = found["items"]
        return pods

    def _delete(self, pod: dict[str, Any], *, by_force: bool) -> None:
        told = pod["metadata"]
        how = ("--force", "--grace-period=0") if by_force else ("--wait=false",)
        delete = ("delete", "pod", told["name"], "-n", told["namespace"], "--ignore-not-found", *how)
        patiently(lambda: self._kubectl.run(*delete))

    def _scale(self, workload: str, replicas: int) -> None:
        patiently(lambda: self._kubectl.run("scale", workload, "-n", NAMESPACE, f"--replicas={replicas}"))

    def _end_api_server(self, seconds: float) -> bool:
        subprocess.run([*_CLUSTER, "kill", "apiserver"], check=True, capture_output=True)
        time.sleep(seconds)
        subprocess.run([*_CLUSTER, "up"], check=True, capture_output=True, timeout=180)
        return True


def patiently(call: Callable[[], Any]) -> Any:
    """Again and again while the API server is away."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            return call()
        except KubectlError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.5)

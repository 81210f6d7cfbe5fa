"""Ways into the release that hold while the API server is away: this machine is the node."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx
from dev.demo.thread import reach
from tests.cluster.release import LIFECYCLE, NAMESPACE, RELEASE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from dev.demo.kubectl import Kubectl
    from dev.demo.thread import Platform


@contextmanager
def service_address(kubectl: Kubectl, namespace: str, service: str, port: int) -> Iterator[str]:
    """The Service's own address."""
    found = kubectl.json("get", "service", service, "-n", namespace)
    yield f"{found['spec']['clusterIP']}:{port}"


def reach_directly(kubectl: Kubectl) -> AbstractContextManager[Platform]:
    """The test's release, by Services' addresses; a port-forward would end with the API server."""
    return reach(kubectl, RELEASE, NAMESPACE, service_address)


def mlflow_champion(kubectl: Kubectl) -> str | None:
    """The version that MLflow's alias names. Raises httpx.HTTPError while MLflow is away."""
    with service_address(kubectl, NAMESPACE, f"{RELEASE}-mlflow", 5000) as address:
        answer = httpx.get(
            f"http://{address}/api/2.0/mlflow/registered-models/alias",
            params={"name": LIFECYCLE, "alias": "champion"},
            # MLflow refuses names of hosts that it does not know.
            headers={"Host": "localhost"},
            timeout=10,
        )
    if answer.status_code == 400:
        return None  # there is no alias
    answer.raise_for_status()
    found: dict[str, Any] = answer.json()["model_version"]
    return str(found["version"])

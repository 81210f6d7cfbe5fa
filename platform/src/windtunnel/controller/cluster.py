"""What the controller asks of the API server and of the serving pods."""

from __future__ import annotations

import http.client
import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from windtunnel.controller.reconcile import MODEL_LABEL, PORT
from windtunnel.controller.status import PodView
from windtunnel.errors import NotFoundError
from windtunnel.kube import APPLY, MERGE, object_path
from windtunnel.spec.servedmodel import API_VERSION, KIND, PLURAL

if TYPE_CHECKING:
    from collections.abc import Mapping

    from windtunnel.controller.reconcile import Object
    from windtunnel.kube import KubernetesApi
    from windtunnel.spec.servedmodel import Metadata, ServedModelStatus

_MANAGER: Final = "windtunnel-controller"
_POD_TIMEOUT: Final = 1.0
"""Seconds that a pod gets to say what it serves."""
_PLURALS: Final = {
    "Deployment": "deployments",
    "Service": "services",
    "PodDisruptionBudget": "poddisruptionbudgets",
    "NetworkPolicy": "networkpolicies",
}


class Cluster:
    """One namespace. Every method raises as KubernetesApi.request does."""

    def __init__(self, api: KubernetesApi, namespace: str) -> None:
        self._api = api
        self._namespace = namespace
        self._threads = ThreadPoolExecutor(max_workers=8, thread_name_prefix="ask-pod")

    def apply(self, wanted: Object) -> None:
        """Server-side apply: makes it, or takes back what others have changed in it."""
        path = self._path(wanted["apiVersion"], _PLURALS[wanted["kind"]], wanted["metadata"]["name"])
        self._api.request("PATCH", path, wanted, {"fieldManager": _MANAGER, "force": "true"}, APPLY)

    def deployment(self, name: str) -> Object | None:
        """The Deployment, or None."""
        try:
            return self._api.request("GET", self._path("apps/v1", "deployments", name))
        except NotFoundError:
            return None

    def pods(self, name: str, lifecycle: str) -> list[PodView]:
        """The ServedModel's pods that are neither ending nor over, and what each says that it serves."""
        query = {"labelSelector": f"{MODEL_LABEL}={name}"}
        answer = self._api.request("GET", self._path("v1", "pods"), query=query)
        pods = [
            pod for pod in answer["items"] if "deletionTimestamp" not in pod["metadata"] and not _over(pod)
        ]
        said = self._threads.map(lambda pod: _ask(pod.get("status", {}).get("podIP"), lifecycle), pods)
        return [PodView.from_pod(pod, parameters) for pod, parameters in zip(pods, said, strict=True)]

    def write_status(self, name: str, status: ServedModelStatus) -> None:
        """Make the status what it shall be; what is None is taken out."""
        path = self._path(API_VERSION, PLURAL, name, "status")
        self._api.request(
            "PATCH", path, {"status": status.model_dump(mode="json", by_alias=True)}, None, MERGE
        )

    def tell(self, about: Metadata, kind: str, reason: str, message: str) -> None:
        """Record an event (kind: Normal or Warning) on the ServedModel."""
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"generateName": f"{about.name}.", "namespace": self._namespace},
            "involvedObject": {
                "apiVersion": API_VERSION,
                "kind": KIND,
                "name": about.name,
                "namespace": self._namespace,
                "uid": about.uid,
            },
            "type": kind,
            "reason": reason,
            "message": message[:1000],
            "source": {"component": _MANAGER},
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
        self._api.request("POST", self._path("v1", "events"), event)

    def _path(self, api_version: str, plural: str, name: str = "", subresource: str = "") -> str:
        return object_path(api_version, self._namespace, plural, name, subresource)


def _over(pod: Mapping[str, Any]) -> bool:
    """An evicted pod stays in the list, and its address may be another's by now."""
    return pod.get("status", {}).get("phase") in ("Failed", "Succeeded")


def _ask(address: str | None, lifecycle: str) -> Mapping[str, Any] | None:
    """The parameters of the model's metadata, or None when the pod does not answer."""
    if not address:
        return None
    connection = http.client.HTTPConnection(address, PORT, timeout=_POD_TIMEOUT)
    try:
        connection.request("GET", f"/v2/models/{lifecycle}")
        answer = json.loads(connection.getresponse().read())
        parameters = answer.get("parameters")
        return parameters if isinstance(parameters, dict) else None
    except (OSError, ValueError, AttributeError, http.client.HTTPException):
        return None
    finally:
        connection.close()

"""What the controller asks of the API server and of the serving pods."""

from __future__ import annotations

import contextlib
import http.client
import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from windtunnel.controller.reconcile import MODEL_LABEL, PORT
from windtunnel.controller.status import PodView
from windtunnel.errors import ConflictError, NotFoundError, TemporaryError
from windtunnel.kube import APPLY, MERGE, object_path
from windtunnel.spec.servedmodel import API_VERSION, KIND, PLURAL

if TYPE_CHECKING:
    from collections.abc import Mapping

    from windtunnel.controller.reconcile import Object
    from windtunnel.kube import KubernetesApi
    from windtunnel.spec.servedmodel import Metadata, ServedModelStatus

_MANAGER: Final = "windtunnel-controller"
_HANDOVER: Final = "windtunnel-handover"
"""Owns a Deployment's `replicas` from when we let go of it until the autoscaler writes it."""
_HANDOVER_TRIES: Final = 5
_POD_TIMEOUT: Final = 1.0
"""Seconds that a pod gets to say what it serves."""
_PLURALS: Final = {
    "Deployment": "deployments",
    "Service": "services",
    "PodDisruptionBudget": "poddisruptionbudgets",
    "NetworkPolicy": "networkpolicies",
    "HorizontalPodAutoscaler": "horizontalpodautoscalers",
}
_SCALER: Final = ("autoscaling/v2", "horizontalpodautoscalers")


class Cluster:
    """One namespace. Every method raises as KubernetesApi.request does."""

    def __init__(self, api: KubernetesApi, namespace: str) -> None:
        self._api = api
        self._namespace = namespace
        self._threads = ThreadPoolExecutor(max_workers=8, thread_name_prefix="ask-pod")

    def served_model(self, name: str) -> Object | None:
        """The ServedModel as it is now, or None."""
        return self._get(API_VERSION, PLURAL, name)

    def apply(self, wanted: Object) -> None:
        """Server-side apply: makes it, or takes back what others have changed in it."""
        self._apply(wanted, _MANAGER)

    def apply_scaled(self, wanted: Object, replicas: int) -> None:
        """`apply` for a Deployment without `replicas`, because an autoscaler decides it; it begins with so
        many.

        A field that its only owner lets go of falls back to its default, and that is one pod. So somebody
        else must own it first, with the value that it has.
        """
        name = wanted["metadata"]["name"]
        current = self.deployment(name)
        if current is None:
            self._apply({**wanted, "spec": {**wanted["spec"], "replicas": replicas}}, _MANAGER)
        for _ in range(_HANDOVER_TRIES):
            current = self.deployment(name)
            if current is None or not (_owns_replicas(current) or current["spec"]["replicas"] == 0):
                break
            given = {
                "apiVersion": wanted["apiVersion"],
                "kind": wanted["kind"],
                # refused when anybody scaled it meanwhile
                "metadata": {"name": name, "resourceVersion": current["metadata"]["resourceVersion"]},
                # an autoscaler leaves what was scaled to nothing alone
                "spec": {"replicas": current["spec"]["replicas"] or replicas},
            }
            try:
                self._apply(given, _HANDOVER)
                break
            except ConflictError:
                continue
        else:
            raise TemporaryError(
                f"it was written to {_HANDOVER_TRIES} times in between", where=f"Deployment {name}"
            )
        self._apply(wanted, _MANAGER)

    def autoscaler(self, name: str) -> Object | None:
        """The HorizontalPodAutoscaler, or None."""
        return self._get(*_SCALER, name)

    def remove_autoscaler(self, about: Metadata) -> None:
        """Delete the ServedModel's HorizontalPodAutoscaler; one that somebody else made stays."""
        found = self.autoscaler(about.name)
        if found is None or not _is_owned(found, about.uid):
            return
        # not another one that came in between
        only = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": {"uid": found["metadata"]["uid"]},
        }
        with contextlib.suppress(NotFoundError, ConflictError):
            self._api.request("DELETE", self._path(*_SCALER, about.name), only)

    def deployment(self, name: str) -> Object | None:
        """The Deployment, or None."""
        return self._get("apps/v1", "deployments", name)

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

    def _apply(self, wanted: Object, manager: str) -> None:
        path = self._path(wanted["apiVersion"], _PLURALS[wanted["kind"]], wanted["metadata"]["name"])
        self._api.request("PATCH", path, wanted, {"fieldManager": manager, "force": "true"}, APPLY)

    def _get(self, api_version: str, plural: str, name: str) -> Object | None:
        try:
            return self._api.request("GET", self._path(api_version, plural, name))
        except NotFoundError:
            return None

    def _path(self, api_version: str, plural: str, name: str = "", subresource: str = "") -> str:
        return object_path(api_version, self._namespace, plural, name, subresource)


def _owns_replicas(deployment: Mapping[str, Any]) -> bool:
    """Whether letting go of `replicas` would change it."""
    return any(
        entry.get("manager") == _MANAGER
        and entry.get("operation") == "Apply"
        and "f:replicas" in entry.get("fieldsV1", {}).get("f:spec", {})
        for entry in deployment["metadata"].get("managedFields", ())
    )


def _is_owned(found: Mapping[str, Any], uid: str | None) -> bool:
    return any(owner.get("uid") == uid for owner in found["metadata"].get("ownerReferences", ()))


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

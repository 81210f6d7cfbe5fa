"""What the controller takes for a serving pod, of all that the API server lists."""

from __future__ import annotations

from typing import Any

from windtunnel.controller.cluster import Cluster
from windtunnel.errors import ConflictError, NotFoundError
from windtunnel.spec.servedmodel import Metadata


class Listing:
    """An API server that has these pods."""

    def __init__(self, *pods: dict[str, Any]) -> None:
        self._pods = pods

    def request(self, method: str, path: str, query: dict[str, str]) -> dict[str, Any]:
        assert (method, path) == ("GET", "/api/v1/namespaces/windtunnel/pods")
        assert query == {"labelSelector": "windtunnel.dev/served-model=flight-delay"}
        return {"items": list(self._pods)}


def pod(name: str, phase: str, **metadata: str) -> dict[str, Any]:
    return {"metadata": {"name": name, **metadata}, "status": {"phase": phase}}


def test_pods_that_end_or_are_over_do_not_count() -> None:
    api = Listing(
        pod("well", "Running"),
        pod("new", "Pending"),
        pod("ends", "Running", deletionTimestamp="2026-01-01T00:00:00Z"),
        pod("evicted", "Failed"),
    )
    cluster = Cluster(api, "windtunnel")  # type: ignore[arg-type]
    assert [view.name for view in cluster.pods("flight-delay", "flight_delay")] == ["well", "new"]


WANTED = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "flight-delay"},
    "spec": {"template": {}},
}


class Owning:
    """An API server that has one Deployment and follows who owns its `replicas`, as the real one does."""

    def __init__(self, replicas: int | None, *owners: str) -> None:
        self.replicas = replicas
        """None: there is no Deployment."""
        self.seen: list[int] = []
        self._owners = set(owners)
        self._version = 1
        self.scaled_meanwhile: list[int] = []

    def request(
        self, method: str, path: str, body: Any = None, query: Any = None, content_type: str = ""
    ) -> dict[str, Any]:
        if method == "GET":
            if self.replicas is None:
                raise NotFoundError("no Deployment")
            return self._object()
        manager, version = query["fieldManager"], body["metadata"].get("resourceVersion")
        if self.scaled_meanwhile and version:
            self.replicas = self.scaled_meanwhile.pop()
            self._owners, self._version = {"autoscaler"}, self._version + 1
        if version and version != str(self._version):
            raise ConflictError("written to since")
        if "replicas" in body["spec"]:
            self._owners.add(manager)
            self.replicas = body["spec"]["replicas"]
        elif manager in self._owners:
            self._owners.remove(manager)
            if not self._owners:
                self.replicas = None
        self.replicas = 1 if self.replicas is None else self.replicas
        self._version += 1
        self.seen.append(self.replicas)
        return self._object()

    def _object(self) -> dict[str, Any]:
        managed = [
            {
                "manager": manager,
                "operation": "Update" if manager == "autoscaler" else "Apply",
                "fieldsV1": {"f:spec": {"f:replicas": {}}},
            }
            for manager in self._owners
        ]
        metadata = {"resourceVersion": str(self._version), "managedFields": managed}
        return {"metadata": metadata, "spec": {"replicas": self.replicas}}


def given_to_an_autoscaler(api: Owning) -> list[int]:
    """Every number of pods that was wanted on the way."""
    cluster = Cluster(api, "windtunnel")  # type: ignore[arg-type]
    cluster.apply_scaled(WANTED, 2)
    cluster.apply_scaled(WANTED, 2)
    return api.seen


def test_an_autoscaler_takes_over_the_pods_that_are_there() -> None:
    assert set(given_to_an_autoscaler(Owning(5, "windtunnel-controller"))) == {5}
    assert set(given_to_an_autoscaler(Owning(5, "windtunnel-controller", "somebody"))) == {5}


def test_a_new_deployment_begins_with_the_fewest_that_are_wanted() -> None:
    assert set(given_to_an_autoscaler(Owning(None))) == {2}


def test_what_an_autoscaler_has_written_is_its_own() -> None:
    assert set(given_to_an_autoscaler(Owning(7, "autoscaler"))) == {7}


def test_what_was_scaled_to_nothing_begins_again() -> None:
    """A HorizontalPodAutoscaler leaves it alone for ever."""
    assert given_to_an_autoscaler(Owning(0, "somebody"))[-1] == 2


def test_an_autoscaler_that_writes_meanwhile_is_not_written_over() -> None:
    api = Owning(3, "windtunnel-controller")
    api.scaled_meanwhile = [6]
    assert set(given_to_an_autoscaler(api)) == {6}


class Scalers:
    """An API server that has one HorizontalPodAutoscaler."""

    def __init__(self, owner: str) -> None:
        self._metadata = {"uid": "its-own", "ownerReferences": [{"uid": owner}]}
        self.deleted: list[Any] = []

    def request(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        assert path == "/apis/autoscaling/v2/namespaces/windtunnel/horizontalpodautoscalers/flight-delay"
        if method == "DELETE":
            self.deleted.append(body["preconditions"]["uid"])
        return {"metadata": self._metadata}


def test_only_its_own_autoscaler_is_removed() -> None:
    for owner, deleted in (("a-uid", ["its-own"]), ("another", [])):
        api = Scalers(owner)
        Cluster(api, "windtunnel").remove_autoscaler(  # type: ignore[arg-type]
            Metadata(name="flight-delay", uid="a-uid")
        )
        assert api.deleted == deleted

"""What the controller takes for a serving pod, of all that the API server lists."""

from __future__ import annotations

from typing import Any

from windtunnel.controller.cluster import Cluster


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

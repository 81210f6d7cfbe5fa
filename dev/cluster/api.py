"""A few requests to the cluster's API, without kubectl.

Verifies as strictly as Python 3.13 does by default: certificates that its users would refuse fail here first.
"""

from __future__ import annotations

import http.client
import json
import ssl
import urllib.error
import urllib.request
from datetime import datetime
from typing import TYPE_CHECKING, Any

from layout import API_PORT, NODE_NAME

if TYPE_CHECKING:
    from layout import Layout


class Api:
    """The API as the cluster's administrator."""

    def __init__(self, layout: Layout) -> None:
        context = ssl.create_default_context(cafile=str(layout.pki / "ca.crt"))
        context.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
        context.load_cert_chain(layout.pki / "admin.crt", layout.pki / "admin.key")
        # No proxies, whatever the environment says: the API is on the loopback.
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )

    def get(self, path: str) -> str | None:
        """The body of a GET, None when the API does not answer or does not answer 200."""
        try:
            with self._opener.open(f"https://127.0.0.1:{API_PORT}{path}", timeout=5) as response:
                body: bytes = response.read()
                return body.decode()
        except (urllib.error.URLError, http.client.HTTPException, OSError):
            return None

    def get_object(self, path: str) -> dict[str, Any]:
        """An API object, empty when it is not to be had."""
        return json.loads(self.get(path) or "{}") or {}

    def is_ready(self) -> bool:
        return self.get("/readyz") == "ok"

    def node_is_ready(self, since: float = 0.0) -> bool:
        """Whether kubelet has reported readiness, after `since` (seconds of the epoch).

        Without `since` a node whose kubelet was killed passes for ready during the next 40 seconds.
        """
        node = self.get_object(f"/api/v1/nodes/{NODE_NAME}")
        return any(
            condition["type"] == "Ready"
            and condition["status"] == "True"
            and datetime.fromisoformat(condition["lastHeartbeatTime"]).timestamp() >= int(since)
            for condition in node.get("status", {}).get("conditions", [])
        )

    def deployment_is_available(self, namespace: str, name: str) -> bool:
        """Whether the deployment's present generation, not an earlier one, is available."""
        deployment = self.get_object(f"/apis/apps/v1/namespaces/{namespace}/deployments/{name}")
        if not deployment:
            return False
        wanted, status = deployment["spec"]["replicas"], deployment.get("status", {})
        return bool(
            status.get("observedGeneration") == deployment["metadata"]["generation"]
            and status.get("updatedReplicas") == status.get("availableReplicas") == wanted
        )

    def pods(self) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = self.get_object("/api/v1/pods").get("items", [])
        return items

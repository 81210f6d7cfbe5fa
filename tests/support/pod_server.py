"""A small API server for the pods of one namespace: list in pages, watch, delete, over real HTTP."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from http_server import LocalServer, QuietHandler, answering

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

NAMESPACE = "windtunnel-stages"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"


class PodServer(LocalServer):
    """What it has, and who asked for what."""

    def __init__(self) -> None:
        super().__init__(_Handler)
        self.pods: dict[str, dict[str, Any]] = {}
        """By uid."""
        self.page = 200
        """Pods in one answer at most."""
        self.history: list[dict[str, Any]] = []
        self.forgotten = 0
        """Events that it no longer has: who asks for what came after them is answered 410."""
        self.changed = threading.Condition()
        self.lists = 0
        self.closes = False
        """Whether a watch ends when there is nothing more to tell, instead of waiting."""

    def put(self, *pods: dict[str, Any]) -> None:
        """Add pods, or change them."""
        for pod in pods:
            known = pod["metadata"]["uid"] in self.pods
            self.pods[pod["metadata"]["uid"]] = pod
            self._tell("MODIFIED" if known else "ADDED", pod)

    def remove(self, pod: dict[str, Any]) -> None:
        self.pods.pop(pod["metadata"]["uid"])
        self._tell("DELETED", pod)

    def _tell(self, kind: str, pod: dict[str, Any]) -> None:
        with self.changed:
            version = str(len(self.history) + 1)
            told = {**pod, "metadata": {**pod["metadata"], "resourceVersion": version}}
            self.history.append({"type": kind, "object": told})
            self.changed.notify_all()


def pod_server() -> AbstractContextManager[PodServer]:
    return answering(PodServer())


class _Handler(QuietHandler):
    server: PodServer

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        assert (parts.path, query["labelSelector"]) == (PODS, "kubernetes_executor=True")
        if "watch" in query:
            return self._watch(int(query["resourceVersion"]))
        first, size = int(query.get("continue") or 0), min(self.server.page, int(query["limit"]))
        pods = list(self.server.pods.values())
        more = str(first + size) if first + size < len(pods) else ""
        self.server.lists += 1
        metadata = {"resourceVersion": str(len(self.server.history)), "continue": more}
        return self._answer(200, {"metadata": metadata, "items": pods[first : first + size]})

    def do_DELETE(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name = urlsplit(self.path).path.removeprefix(f"{PODS}/")
        found = [pod for pod in self.server.pods.values() if pod["metadata"]["name"] == name]
        if not found:
            return self._answer(404, {"message": "not found"})
        if found[0]["metadata"]["uid"] != asked["preconditions"]["uid"]:
            return self._answer(409, {"message": "the UID in the precondition does not match"})
        self.server.remove(found[0])
        return self._answer(200, {})

    def _watch(self, version: int) -> None:
        self.send_response(200)
        self.end_headers()
        if version < self.server.forgotten:
            return self._event({"type": "ERROR", "object": {"code": 410, "message": "too old"}})
        while True:
            with self.server.changed:
                while len(self.server.history) <= version:
                    if self.server.closes:
                        return None
                    self.server.changed.wait(0.05)
            self._event(self.server.history[version])
            version += 1

    def _event(self, event: dict[str, Any]) -> None:
        self.wfile.write(json.dumps(event).encode() + b"\n")

    def _answer(self, status: int, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

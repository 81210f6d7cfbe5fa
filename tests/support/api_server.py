"""A small API server for ServedModels: over real HTTP, with a token, resource versions and merge patches."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from http_server import LocalServer, QuietHandler, answering

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

MODELS = "/apis/windtunnel.dev/v1alpha1/namespaces/ml/servedmodels"


class ApiServer(LocalServer):
    """`models` by name; `pods` are listed (None: nobody may); requests without the token are refused."""

    def __init__(self) -> None:
        super().__init__(_Handler)
        self.models: dict[str, dict[str, Any]] = {}
        self.pods: list[dict[str, Any]] | None = []
        self.token = "a-token"
        self.user = "anna@example.com"
        self.lock = threading.Lock()
        self.hangs_up = False
        """Whether it takes calls and answers none."""
        self.serves = True
        """Whether a controller lets the status follow each write."""

    def put(self, model: dict[str, Any]) -> None:
        metadata = {**model["metadata"], "resourceVersion": "1", "generation": 1, "uid": "a-uid"}
        self.models[metadata["name"]] = {**model, "metadata": metadata}
        self.follow(metadata["name"])

    def follow(self, name: str) -> None:
        model = self.models[name]
        if self.serves:
            model["status"] = {
                **model.get("status", {}),
                "phase": "Ready",
                "champion": model["spec"]["champion"]["version"],
                "ready": "2/2",
                "observedGeneration": model["metadata"]["generation"],
            }


def api_server() -> AbstractContextManager[ApiServer]:
    return answering(ApiServer())


class _Handler(QuietHandler):
    protocol_version = "HTTP/1.1"
    server: ApiServer

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if self.server.hangs_up:
            self.close_connection = True
            return
        if not self._is_known():
            return
        if path.endswith("/pods"):
            if self.server.pods is None:
                return self._refuse(403, "Forbidden", "you may not list pods")
            return self._answer(200, {"items": self.server.pods})
        if path == MODELS:
            return self._answer(200, {"items": list(self.server.models.values())})
        found = self.server.models.get(path.removeprefix(f"{MODELS}/"))
        if found is None:
            return self._refuse(404, "NotFound", "servedmodels.windtunnel.dev not found")
        return self._answer(200, found)

    def do_PATCH(self) -> None:
        change = self._body()
        if not self._is_known():
            return
        assert self.headers["Content-Type"] == "application/merge-patch+json"
        name = urlsplit(self.path).path.removeprefix(f"{MODELS}/")
        with self.server.lock:
            model = self.server.models[name]
            metadata = model["metadata"]
            wanted = change.get("metadata", {}).pop("resourceVersion", metadata["resourceVersion"])
            if wanted != metadata["resourceVersion"]:
                return self._refuse(409, "Conflict", "the object has been modified")
            written = _merged(model, change)
            written["metadata"]["resourceVersion"] = str(int(metadata["resourceVersion"]) + 1)
            written["metadata"]["generation"] = metadata["generation"] + 1
            self.server.models[name] = written
            self.server.follow(name)
            return self._answer(200, written)

    def do_POST(self) -> None:
        self._body()
        if self._is_known():
            self._answer(201, {"status": {"userInfo": {"username": self.server.user}}})

    def _body(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self.rfile.read(int(self.headers.get("Content-Length", "0"))))
        return content

    def _is_known(self) -> bool:
        if self.headers.get("Authorization") == f"Bearer {self.server.token}":
            return True
        self._refuse(401, "Unauthorized", "who are you")
        return False

    def _refuse(self, status: int, reason: str, message: str) -> None:
        self._answer(status, {"kind": "Status", "reason": reason, "message": message})

    def _answer(self, status: int, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _merged(old: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """RFC 7386."""
    result = dict(old)
    for key, value in change.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict) and isinstance(result.get(key), dict):
            result[key] = _merged(result[key], value)
        else:
            result[key] = value
    return result

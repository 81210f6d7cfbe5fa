"""Following a ServedModel over real HTTP, through everything that an API server does to its watchers."""

from __future__ import annotations

import json
import threading
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from http_server import LocalServer, QuietHandler, answering
from waiting import HANG

from windtunnel.errors import ConflictError, NotFoundError, PermanentError, TemporaryError
from windtunnel.kube import KubernetesApi, object_path
from windtunnel.serving.watcher import follow_file, follow_kubernetes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PATH = "/apis/windtunnel.dev/v1alpha1/namespaces/ns/servedmodels"


def served_model(version: int) -> dict[str, Any]:
    return {"metadata": {"name": "flight-delay", "resourceVersion": str(version)}, "spec": {"n": version}}


class ApiServer:
    """Answers with what is scripted, in order; then the object as it was last, and watches without events."""

    def __init__(self) -> None:
        self.script: deque[tuple[int, list[Any]]] = deque()
        self.requests: list[tuple[str, str]] = []
        self.tokens: list[str | None] = []
        script, requests, tokens = self.script, self.requests, self.tokens

        class Handler(QuietHandler):
            def do_GET(self) -> None:
                requests.append((self.command, self.path))
                tokens.append(self.headers["Authorization"])
                status, lines = script.popleft() if script else (503, [{"message": "no more script"}])
                self.send_response(status)
                self.end_headers()
                for line in lines:
                    self.wfile.write(json.dumps(line).encode() + b"\n")

            do_PATCH = do_PUT = do_GET

        self.http = LocalServer(Handler)
        self.api = KubernetesApi("127.0.0.1", self.http.server_port, None, "ns", token="secret", timeout=HANG)


@pytest.fixture
def server() -> Iterator[ApiServer]:
    server = ApiServer()
    with answering(server.http):
        yield server


def follow(server: ApiServer, count: int) -> tuple[list[int], list[bool]]:
    """The first `count` objects that are followed, and what was said of the connection."""
    stop = threading.Event()
    connected: list[bool] = []
    seen = []
    for value in follow_kubernetes(server.api, "ns", "flight-delay", connected.append, stop):
        seen.append(value["spec"]["n"])
        if len(seen) == count:
            stop.set()
            break
    return seen, connected


def event(kind: str, version: int) -> dict[str, Any]:
    return {"type": kind, "object": served_model(version)}


def test_yields_the_object_then_each_change(server: ApiServer) -> None:
    server.script.extend(
        [
            (200, [served_model(5)]),
            (200, [event("MODIFIED", 6), event("BOOKMARK", 8), event("MODIFIED", 9)]),
            (200, [event("MODIFIED", 10)]),
        ]
    )
    assert follow(server, 4)[0] == [5, 6, 9, 10]
    assert server.requests[0] == ("GET", f"{PATH}/flight-delay")
    assert "resourceVersion=5" in server.requests[1][1]
    assert "fieldSelector=metadata.name%3Dflight-delay" in server.requests[1][1]
    assert "resourceVersion=9" in server.requests[2][1]
    assert set(server.tokens) == {"Bearer secret"}


def test_reads_again_when_its_resource_version_is_too_old(server: ApiServer) -> None:
    gone = {"type": "ERROR", "object": {"code": 410, "message": "too old resource version"}}
    server.script.extend([(200, [served_model(5)]), (200, [gone]), (200, [served_model(40)])])
    assert follow(server, 2)[0] == [5, 40]


def test_a_token_that_cannot_be_read_now_is_read_again(server: ApiServer, tmp_path: Path) -> None:
    file = tmp_path / "token"
    api = replace(server.api, token_file=file)
    with pytest.raises(TemporaryError, match="no token"):
        api.request("GET", PATH)
    file.write_text("renewed\n")
    server.script.append((200, [served_model(5)]))
    api.request("GET", PATH)
    assert server.tokens == ["Bearer renewed"]


def test_goes_on_after_the_api_server_was_away(server: ApiServer) -> None:
    server.script.extend(
        [
            (503, [{"message": "starting"}]),
            (200, [served_model(5)]),
            (500, [{"message": "etcd"}]),
            (200, [served_model(6)]),
        ]
    )
    seen, connected = follow(server, 2)
    assert seen == [5, 6]
    assert connected == [False, True, False, True]


def test_waits_for_an_object_that_does_not_exist_yet(server: ApiServer) -> None:
    server.script.extend([(404, [{"message": "not found"}]), (200, [served_model(1)])])
    assert follow(server, 1)[0] == [1]


def test_a_deleted_object_is_no_change(server: ApiServer) -> None:
    server.script.extend(
        [(200, [served_model(5)]), (200, [event("DELETED", 6), event("ADDED", 7)])],
    )
    assert follow(server, 2)[0] == [5, 7]


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (404, NotFoundError),
        (409, ConflictError),
        (422, PermanentError),
        (403, PermanentError),
        (429, TemporaryError),
        (500, TemporaryError),
    ],
)
def test_answers_of_the_api_server_become_our_errors(
    server: ApiServer, status: int, kind: type[Exception]
) -> None:
    server.script.append((status, [{"message": "because", "reason": "Why"}]))
    with pytest.raises(kind, match="because"):
        server.api.request("PATCH", object_path("v1", "ns", "pods", "a"), {"a": 1})


def test_an_api_server_that_is_not_there_is_a_temporary_error() -> None:
    api = KubernetesApi("127.0.0.1", 1, None, "ns")
    with pytest.raises(TemporaryError, match="no answer from the API server"):
        api.request("GET", "/api")


def test_paths() -> None:
    assert object_path("v1", "ns", "pods") == "/api/v1/namespaces/ns/pods"
    assert object_path("apps/v1", "ns", "deployments", "a", "status") == (
        "/apis/apps/v1/namespaces/ns/deployments/a/status"
    )


def test_follows_a_file(tmp_path: Path) -> None:
    path = tmp_path / "served.json"
    stop = threading.Event()
    connected: list[bool] = []
    followed = follow_file(path, connected.append, stop)
    path.write_text(json.dumps(served_model(1)))
    assert next(followed)["spec"]["n"] == 1
    path.write_text(json.dumps(served_model(2)))
    assert next(followed)["spec"]["n"] == 2
    stop.set()
    assert next(followed, None) is None

"""An Airflow for tests of its client: the part of the REST API that the client uses, over real HTTP."""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

from http_server import LocalServer, QuietHandler, answering

if TYPE_CHECKING:
    from collections.abc import Iterator

USERNAME, PASSWORD = "wind", "hidden-password"
_PAGE = 100

Frame = tuple[str, list[dict[str, Any]]]
"""A run as one look shows it: its state and its task instances."""


def task(
    task_id: str, state: str | None, map_index: int = -1, *, days: str = "", try_number: int = 1
) -> dict[str, Any]:
    """A task instance, as the API tells it."""
    began = state not in (None, "scheduled", "queued", "upstream_failed")
    return {
        "task_id": task_id,
        "map_index": map_index,
        "state": state,
        "try_number": try_number,
        "hostname": f"{task_id}-pod" if began else None,
        "start_date": "2026-01-01T00:00:00+00:00" if began else None,
        "end_date": "2026-01-01T00:00:05+00:00" if state in ("success", "failed", "skipped") else None,
        "rendered_map_index": days or None,
    }


@dataclass
class FakeAirflow:
    """What it has and what it was asked; a test sets the first and reads the second."""

    url: str = ""
    dags: dict[str, dict[str, Any]] = field(default_factory=dict)
    frames: list[Frame] = field(default_factory=list)
    """What looks at a run show, one after the other; the last one stays."""
    results: dict[str, Any] = field(default_factory=dict)
    """By task, of a mapped one as in `score[2]`."""
    logs: dict[tuple[str, int], list[Any]] = field(default_factory=dict)
    """Log rows by task and try."""
    answers: list[tuple[int, bytes, dict[str, str]]] = field(default_factory=list)
    """Answers (status, body, headers) for the next calls, instead of the right ones."""
    dies_after: int | None = None
    """Calls until it answers 503 for good; None: never."""
    lose_next_trigger: bool = False
    """Start the run, then drop the connection."""
    valid_for: int | None = None
    """Calls that a token is good for; None: all."""
    logins: int = 0
    triggered: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Conf of each run, by run id."""
    asked: list[str] = field(default_factory=list)
    """Method and path of each call, without the login."""
    _left: int = 0
    _look: int = 0

    def add_lifecycle(self, name: str, *, paused: bool = False) -> None:
        for dag in ("features", "train", "score", "monitor"):
            self.dags[f"{name}__{dag}"] = {"dag_id": f"{name}__{dag}", "is_paused": paused}

    def log_in(self, body: dict[str, str]) -> tuple[int, Any]:
        if body != {"username": USERNAME, "password": PASSWORD}:
            return 401, {"detail": "Invalid credentials"}
        self.logins += 1
        self._left = self.valid_for if self.valid_for is not None else -1
        return 201, {"access_token": f"token-{self.logins}"}

    def call(self, method: str, path: str, query: dict[str, str], body: Any) -> tuple[int, Any]:
        if self._left == 0:
            return 401, {"detail": "Token expired"}
        self._left -= 1
        for pattern, answer in _ROUTES:
            if found := re.fullmatch(f"{method} {pattern}", f"{method} {path}"):
                return answer(self, [unquote(part) for part in found.groups()], query, body)
        return 404, {"detail": f"no {method} {path}"}

    def _dag(self, names: list[str], query: dict[str, str], body: Any) -> tuple[int, Any]:
        if names[0] not in self.dags:
            return 404, {"detail": f"The Dag with ID: `{names[0]}` was not found"}
        return 200, self.dags[names[0]]

    def _all_dags(self, names: list[str], query: dict[str, str], body: Any) -> tuple[int, Any]:
        return 200, _page("dags", list(self.dags.values()), query)

    def _dag_runs(self, names: list[str], query: dict[str, str], body: Any) -> tuple[int, Any]:
        if body is None:
            return 200, {"dag_runs": [{"dag_run_id": run_id} for run_id in self.triggered]}
        if body["dag_run_id"] in self.triggered:
            return 409, {"detail": "The run is there already"}
        self.triggered[body["dag_run_id"]] = body["conf"]
        return 200, {"dag_run_id": body["dag_run_id"]}

    def _run(self, names: list[str], query: dict[str, str], body: Any) -> tuple[int, Any]:
        self._look += 1
        return 200, {"state": self._frame[0]}

    def _tasks(self, names: list[str], query: dict[str, str], body: Any) -> tuple[int, Any]:
        return 200, _page("task_instances", self._frame[1], query)

    def _result(self, names: list[str], query: dict[str, str], body: Any) -> tuple[int, Any]:
        index = int(query.get("map_index", -1))
        name = names[2] if index < 0 else f"{names[2]}[{index}]"
        if name not in self.results:
            return 404, {"detail": "XCom entry not found"}
        return 200, {"value": self.results[name]}

    def _log(self, names: list[str], query: dict[str, str], body: Any) -> tuple[int, Any]:
        return 200, {"content": self.logs.get((names[2], int(names[3])), [])}

    @property
    def _frame(self) -> Frame:
        return self.frames[min(self._look, len(self.frames)) - 1]


_ROUTES = [
    ("/dags/([^/]+)", FakeAirflow._dag),
    ("/dags", FakeAirflow._all_dags),
    ("/dags/([^/]+)/dagRuns", FakeAirflow._dag_runs),
    ("/dags/([^/]+)/dagRuns/([^/]+)", FakeAirflow._run),
    ("/dags/([^/]+)/dagRuns/([^/]+)/taskInstances", FakeAirflow._tasks),
    (
        "/dags/([^/]+)/dagRuns/([^/]+)/taskInstances/([^/]+)/xcomEntries/return_value",
        FakeAirflow._result,
    ),
    ("/dags/([^/]+)/dagRuns/([^/]+)/taskInstances/([^/]+)/logs/([0-9]+)", FakeAirflow._log),
]


def _page(name: str, rows: list[Any], query: dict[str, str]) -> dict[str, Any]:
    first = int(query.get("offset", 0))
    limit = min(int(query.get("limit", 50)), _PAGE)
    return {name: rows[first : first + limit], "total_entries": len(rows)}


@contextmanager
def fake_airflow() -> Iterator[FakeAirflow]:
    """Answers on a free port of this machine while the block runs."""
    airflow = FakeAirflow()

    class Handler(QuietHandler):
        def _answer(self) -> None:
            parts = urlsplit(self.path)
            size = int(self.headers.get("Content-Length", 0))
            body = json.loads(self.rfile.read(size)) if size else None
            path = parts.path.removeprefix("/api/v2")
            if parts.path != "/auth/token":
                airflow.asked.append(f"{self.command} {path}")
            if airflow.dies_after is not None and len(airflow.asked) > airflow.dies_after:
                self._send(503, b"no endpoints", {})
                return
            if airflow.answers:
                self._send(*airflow.answers.pop(0))
                return
            if parts.path == "/auth/token":
                status, told = airflow.log_in(body)
            else:
                query = {name: values[0] for name, values in parse_qs(parts.query).items()}
                status, told = airflow.call(self.command, path, query, body)
            if airflow.lose_next_trigger and self.command == "POST" and path.endswith("/dagRuns"):
                airflow.lose_next_trigger = False
                self.close_connection = True
                return
            self._send(status, json.dumps(told).encode(), {})

        def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PATCH = _answer

    with answering(LocalServer(Handler)) as server:
        airflow.url = server.address
        yield airflow

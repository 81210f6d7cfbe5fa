"""Airflow's public REST API, as much of it as running and following a DAG takes."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx

FINISHED = ("success", "failed")


class AirflowError(RuntimeError):
    """The API refused; the message holds its status and words."""


@dataclass(frozen=True)
class TaskRun:
    """One task instance, as the API tells it."""

    task_id: str
    map_index: int
    state: str
    try_number: int
    pod: str
    started: datetime | None
    ended: datetime | None

    @property
    def name(self) -> str:
        return self.task_id if self.map_index < 0 else f"{self.task_id}[{self.map_index}]"

    @property
    def seconds(self) -> float:
        """Seconds from start to end, or until now while it runs; 0 before it starts."""
        if self.started is None:
            return 0.0
        end = self.ended or datetime.now(self.started.tzinfo)
        return (end - self.started).total_seconds()


class AirflowApi:
    """A logged-in client. url: where the API server answers, such as http://127.0.0.1:8080."""

    def __init__(self, url: str, username: str, password: str) -> None:
        self._http = httpx.Client(base_url=url, timeout=30)
        self._login = {"username": username, "password": password}
        self._token = ""

    def call(self, method: str, path: str, **keywords: Any) -> Any:
        """JSON of one call to /api/v2; logs in when needed; tries for 60 s while the server is away."""
        deadline = time.monotonic() + 60
        while True:
            try:
                if not self._token:
                    answer = self._http.post("/auth/token", json=self._login)
                    if answer.status_code >= 400:
                        raise AirflowError(f"login: {answer.status_code} {answer.text[:300]}")
                    self._token = answer.json()["access_token"]
                answer = self._http.request(
                    method,
                    f"/api/v2{path}",
                    headers={"Authorization": f"Bearer {self._token}"},
                    **keywords,
                )
            except httpx.TransportError as error:
                if time.monotonic() > deadline:
                    raise AirflowError(f"{method} {path}: {error}") from error
                time.sleep(1)
                continue
            if answer.status_code == 401 and self._token:
                self._token = ""
                continue
            if answer.status_code >= 400:
                raise AirflowError(f"{method} {path}: {answer.status_code} {answer.text[:500]}")
            return answer.json() if answer.content else None

    def wait_for_dag(self, dag_id: str, seconds: float = 180) -> None:
        """Wait until the DAG is published. Raises AirflowError with the import errors that Airflow knows."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                self.call("GET", f"/dags/{dag_id}")
                return
            except AirflowError as error:
                if time.monotonic() > deadline:
                    known = self.call("GET", "/importErrors")["import_errors"]
                    text = "\n".join(e["stack_trace"] for e in known)
                    raise AirflowError(f"no DAG {dag_id} after {seconds:.0f} s: {error}\n{text}") from error
            time.sleep(1)

    def unpause(self, dag_id: str) -> None:
        self.call("PATCH", f"/dags/{dag_id}", json={"is_paused": False})

    def trigger(self, dag_id: str, conf: dict[str, Any], run_id: str | None = None) -> str:
        """Start a run with these params; its run id."""
        body = {"conf": conf, "logical_date": None} | ({"dag_run_id": run_id} if run_id else {})
        return str(self.call("POST", f"/dags/{dag_id}/dagRuns", json=body)["dag_run_id"])

    def runs(self, dag_id: str) -> list[dict[str, Any]]:
        """Newest first."""
        return list(
            self.call(
                "GET",
                f"/dags/{dag_id}/dagRuns",
                params={"order_by": "-run_after", "limit": 20},
            )["dag_runs"]
        )

    def state(self, dag_id: str, run_id: str) -> str:
        return str(self.call("GET", f"/dags/{dag_id}/dagRuns/{run_id}")["state"])

    def task_runs(self, dag_id: str, run_id: str) -> list[TaskRun]:
        """Task instances in the order in which they started."""
        rows = self.call(
            "GET",
            f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances",
            params={"limit": 200},
        )["task_instances"]
        found = [
            TaskRun(
                row["task_id"],
                row["map_index"],
                row["state"] or "waiting",
                row["try_number"],
                row["hostname"] or "",
                _time(row["start_date"]),
                _time(row["end_date"]),
            )
            for row in rows
        ]
        return sorted(
            found,
            key=lambda run: (
                run.started is None,
                run.started,
                run.task_id,
                run.map_index,
            ),
        )

    def result(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> Any:
        """What the task returned (its XCom)."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/return_value"
        return self.call("GET", path, params={"map_index": map_index, "deserialize": "true"})["value"]

    def log(self, dag_id: str, run_id: str, task: TaskRun) -> list[str]:
        """The lines of the task's last try."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task.task_id}/logs/{task.try_number}"
        content = self.call("GET", path, params={"map_index": task.map_index, "full_content": "true"})[
            "content"
        ]
        return [row["event"] if isinstance(row, dict) else str(row) for row in content]


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None

"""Airflow's public REST API, as much of it as starting and following a run takes.

By the standard library alone; the command line, the demo and the cluster tests use this one client.
"""

from __future__ import annotations

import ssl
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from http.client import HTTPException
from json import dumps, loads
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError
from urllib.parse import quote, urlencode, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from windtunnel.errors import (
    ConflictError,
    NotFoundError,
    PermanentError,
    RequestError,
    TemporaryError,
    WindtunnelError,
)
from windtunnel.settings import without_credentials
from windtunnel.spec.log_keys import POD_LOGGER

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

FINISHED = ("success", "failed")
PATIENCE = 60.0
"""Seconds that a call goes on trying while the server is away: it may be starting again."""
_TIMEOUT = 30.0
# Airflow gives no more at a time, whatever it is asked for.
_PAGE = 100
_AWAY = (502, 503, 504)
_KINDS: dict[int, type[WindtunnelError]] = {404: NotFoundError, 409: ConflictError}


class AirflowAwayError(TemporaryError):
    """The server does not answer, or something before it says that it does not."""


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
    slice: str = ""
    """What a mapped one is about, in words, such as `2013-01-01 to 2013-01-14`."""

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
    """A client of the Airflow at `url`, such as http://127.0.0.1:8080; logs in when it is first asked.

    Every method raises AirflowAwayError when the server does not answer for `patience` seconds,
    PermanentError when it refuses the login, NotFoundError, ConflictError or RequestError when it refuses
    the call.
    """

    def __init__(self, url: str, username: str, password: str, *, patience: float = PATIENCE) -> None:
        self.url = _checked_url(url)
        self.patience = patience
        self._username = username
        self._password = password
        self._token = ""
        self._opener = build_opener(_NoRedirects)

    def call(
        self, method: str, path: str, *, params: Mapping[str, Any] | None = None, json: Any = None
    ) -> Any:
        """JSON of one call to /api/v2."""
        deadline = time.monotonic() + self.patience
        while True:
            try:
                return self._call(method, path, params, json)
            except AirflowAwayError:
                if time.monotonic() >= deadline:
                    raise
            time.sleep(min(1.0, self.patience))

    def dag(self, dag_id: str) -> dict[str, Any]:
        return dict(self.call("GET", f"/dags/{_quoted(dag_id)}"))

    def dag_ids(self) -> list[str]:
        """All DAGs that Windtunnel made."""
        return [row["dag_id"] for row in self._pages("/dags", "dags", {"tags": "windtunnel"})]

    def wait_for_dag(self, dag_id: str, seconds: float = 180) -> None:
        """Wait until the DAG is published. Raises NotFoundError with the import errors that Airflow knows."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                self.dag(dag_id)
            except NotFoundError:
                if time.monotonic() >= deadline:
                    known = self.call("GET", "/importErrors")["import_errors"]
                    text = "\n".join(error["stack_trace"] for error in known)
                    raise NotFoundError(f"no DAG {dag_id} after {seconds:.0f} s\n{text}".strip()) from None
                time.sleep(1)
            else:
                return

    def unpause(self, dag_id: str) -> None:
        self.call("PATCH", f"/dags/{_quoted(dag_id)}", json={"is_paused": False})

    def trigger(self, dag_id: str, conf: Mapping[str, Any]) -> str:
        """Start a run with these params; its run id."""
        # Made here, so that a call which is made again, because its answer was lost, starts no second run.
        run_id = f"manual__{datetime.now(UTC):%Y%m%dT%H%M%S.%f}"
        body = {"conf": dict(conf), "logical_date": None, "dag_run_id": run_id}
        with suppress(ConflictError):
            self.call("POST", f"/dags/{_quoted(dag_id)}/dagRuns", json=body)
        return run_id

    def runs(self, dag_id: str) -> list[dict[str, Any]]:
        """The latest, newest first."""
        answer = self.call(
            "GET", f"/dags/{_quoted(dag_id)}/dagRuns", params={"order_by": "-run_after", "limit": 20}
        )
        return list(answer["dag_runs"])

    def state(self, dag_id: str, run_id: str) -> str:
        return str(self.call("GET", _run_path(dag_id, run_id))["state"])

    def task_runs(self, dag_id: str, run_id: str) -> list[TaskRun]:
        """Task instances in the order in which they started."""
        rows = self._pages(f"{_run_path(dag_id, run_id)}/taskInstances", "task_instances", {})
        return sorted((_task_run(row) for row in rows), key=_begin)

    def watch(self, dag_id: str, run_id: str, pause: float = 1.0) -> Iterator[tuple[str, list[TaskRun]]]:
        """The run's state and its tasks, every `pause` seconds; the last time when it has ended."""
        state = ""
        while state not in FINISHED:
            if state:
                time.sleep(pause)
            state = self.state(dag_id, run_id)
            yield state, self.task_runs(dag_id, run_id)

    def result(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> Any:
        """What the task returned (its XCom)."""
        path = f"{_run_path(dag_id, run_id)}/taskInstances/{_quoted(task_id)}/xcomEntries/return_value"
        value = self.call("GET", path, params={"map_index": map_index, "deserialize": "true"})["value"]
        return loads(value) if isinstance(value, str) else value

    def log(self, dag_id: str, run_id: str, task: TaskRun) -> list[str]:
        """The lines of the task's last try."""
        return [row["event"] for row in self._log_rows(dag_id, run_id, task)]

    def error(self, dag_id: str, run_id: str, task: TaskRun) -> str:
        """What the task's last try raised, or how its pod died; empty when its log does not tell."""
        rows = self._log_rows(dag_id, run_id, task)
        for row in rows:
            if row.get("logger") == POD_LOGGER:
                return str(row["event"])
        for row in reversed(rows):
            raised = row.get("error_detail")
            if raised:
                return str(raised[0].get("exc_value", ""))
        return ""

    def run_url(self, dag_id: str, run_id: str) -> str:
        """Where a person looks at the run."""
        return f"{self.url}/dags/{_quoted(dag_id)}/runs/{_quoted(run_id)}"

    def _log_rows(self, dag_id: str, run_id: str, task: TaskRun) -> list[dict[str, Any]]:
        path = f"{_run_path(dag_id, run_id)}/taskInstances/{_quoted(task.task_id)}/logs/{task.try_number}"
        params = {"map_index": task.map_index, "full_content": "true"}
        content = self.call("GET", path, params=params)["content"]
        return [row if isinstance(row, dict) else {"event": str(row)} for row in content]

    def _pages(self, path: str, name: str, params: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        offset = 0
        while True:
            answer = self.call("GET", path, params={**params, "limit": _PAGE, "offset": offset})
            rows = answer[name]
            yield from rows
            offset += len(rows)
            if not rows or offset >= answer["total_entries"]:
                return

    def _call(self, method: str, path: str, params: Mapping[str, Any] | None, body: Any) -> Any:
        fresh = not self._token
        if fresh:
            self._log_in()
        where = f"/api/v2{path}" + (f"?{urlencode(params)}" if params else "")
        status, content = self._send(method, where, body)
        if status == 401 and not fresh:
            # Tokens expire.
            self._log_in()
            status, content = self._send(method, where, body)
        if status >= 300:
            raise self._refusal(status, content, f"{method} {path}")
        return self._json(content) if content else None

    def _log_in(self) -> None:
        self._token = ""
        login = {"username": self._username, "password": self._password}
        status, content = self._send("POST", "/auth/token", login)
        if status in (400, 401, 403):
            raise PermanentError(
                f"Airflow refuses the login of {self._username!r}: {_words(content)}",
                where=self.url,
                fix="check the user's name and password",
            )
        if status >= 300:
            raise self._refusal(status, content, "POST /auth/token")
        answer = self._json(content)
        if not isinstance(answer, dict) or "access_token" not in answer:
            raise self._no_airflow()
        self._token = str(answer["access_token"])

    def _send(self, method: str, path: str, body: Any) -> tuple[int, bytes]:
        headers = {"Accept": "application/json"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        data = None
        if body is not None:
            data = dumps(body).encode()
            headers["Content-Type"] = "application/json"
        request = Request(self.url + path, data=data, headers=headers, method=method)
        try:
            try:
                answer = self._opener.open(request, timeout=_TIMEOUT)
            except HTTPError as refusal:
                answer = refusal
            with answer:
                return int(answer.status), bytes(answer.read())
        except (OSError, HTTPException, UnicodeError) as error:
            raise self._unreachable(error) from error

    def _unreachable(self, error: Exception) -> WindtunnelError:
        reason = getattr(error, "reason", error)
        if isinstance(reason, ssl.SSLCertVerificationError):
            return PermanentError(
                f"its certificate is not trusted: {reason.verify_message}",
                where=self.url,
                fix="name the authority's certificate in SSL_CERT_FILE",
            )
        return AirflowAwayError(
            f"Airflow does not answer: {reason}",
            where=self.url,
            fix="check the address; from outside the cluster it takes a port-forward to the api-server",
        )

    def _refusal(self, status: int, content: bytes, what: str) -> WindtunnelError:
        told = f"{what}: {status} {_words(content)}"
        if status in _AWAY:
            return AirflowAwayError(told, where=self.url, fix="see that Airflow's api-server runs")
        if status >= 500:
            return TemporaryError(told, where=self.url, fix="the log of Airflow's api-server says why")
        if status in (401, 403):
            return PermanentError(
                f"Airflow does not let {self._username!r} do this: {told}",
                where=self.url,
                fix="give the user a role that may read DAGs, and create and read their runs",
            )
        if status < 400:
            return self._no_airflow()
        return _KINDS.get(status, RequestError)(told, where=self.url)

    def _json(self, content: bytes) -> Any:
        try:
            return loads(content)
        except ValueError:
            raise self._no_airflow() from None

    def _no_airflow(self) -> RequestError:
        return RequestError(
            "what answers there is not Airflow's API", where=self.url, fix="give the api-server's address"
        )


class _NoRedirects(HTTPRedirectHandler):
    """Following one would hand the token to whomever it names."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _checked_url(url: str) -> str:
    """Without a slash at its end. Raises RequestError."""
    try:
        parts = urlsplit(url)
        fine = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fine = False
    if not fine or " " in url:
        raise RequestError(
            f"{without_credentials(url)!r} is no address", fix="write it as in http://127.0.0.1:8080"
        )
    if parts.username is not None or parts.password is not None:
        raise RequestError(
            "an address must hold no user and no password: arguments are seen by everybody on the machine",
            fix="put them into the environment",
        )
    return url.rstrip("/")


def _run_path(dag_id: str, run_id: str) -> str:
    return f"/dags/{_quoted(dag_id)}/dagRuns/{_quoted(run_id)}"


def _quoted(name: str) -> str:
    return quote(name, safe="")


def _task_run(row: Mapping[str, Any]) -> TaskRun:
    return TaskRun(
        task_id=row["task_id"],
        map_index=row["map_index"],
        state=row["state"] or "waiting",
        try_number=row["try_number"],
        pod=row["hostname"] or "",
        started=_time(row["start_date"]),
        ended=_time(row["end_date"]),
        slice=row.get("rendered_map_index") or "",
    )


def _begin(run: TaskRun) -> tuple[bool, float, str, int]:
    started = run.started.timestamp() if run.started else 0.0
    return run.started is None, started, run.task_id, run.map_index


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _words(content: bytes) -> str:
    """What an error's body says: Airflow's `detail`, or the beginning of whatever it is."""
    text = content.decode(errors="replace").strip()
    try:
        told = loads(text)
    except ValueError:
        return text[:300]
    detail = told.get("detail", told) if isinstance(told, dict) else told
    return detail if isinstance(detail, str) else dumps(detail)[:500]

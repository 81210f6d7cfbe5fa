"""The prediction log of a real serving process: what is in it, and what happens to it when things die."""

from __future__ import annotations

import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from canary import ROW, is_alive, writes_the_log
from s3_server import S3Server, s3_server
from served_bundle import (
    FEATURES,
    LIFECYCLE,
    make_version,
    matrix_request,
    served_model,
    write_served_model,
)
from serving_process import ServingProcess

from windtunnel.objects import open_store
from windtunnel.prediction_log.columns import COLUMNS
from windtunnel.prediction_log.reading import LoggedRow, find, scan

if TYPE_CHECKING:
    from collections.abc import Iterator

    from windtunnel.spec.servedmodel import ModelVersion

STORE = "s3://logs"


class Logged:
    """A serving process with champion 1, and its log."""

    def __init__(self, directory: Path, server: S3Server, *arguments: str) -> None:
        self.server = server
        self.store = open_store(STORE, server.environment)
        self.champion = make_version(self.store, "1", 1.0)
        self._file = directory / "served.json"
        self._generation = 0
        self.want()
        self.process = ServingProcess(
            self._file,
            STORE,
            arguments=("--log-seconds", "0.3", *arguments),
            environment=server.environment,
        )
        self.answered: dict[str, Any] = {}
        """By prediction id."""

    def want(
        self,
        challenger: ModelVersion | None = None,
        *,
        traffic: int = 0,
        shadow: bool = False,
        sample: float = 1.0,
    ) -> None:
        self._generation += 1
        value = served_model(
            self.champion, self._generation, challenger=challenger, traffic=traffic, shadow=shadow
        )
        value["spec"]["predictionLog"] = {"sample": sample}
        write_served_model(self._file, value)

    def settle(self, state: str | None = None) -> None:
        """Until the process has acted on what is wanted."""
        deadline = time.monotonic() + 30
        while True:
            told = self.process.get(f"/v2/models/{LIFECYCLE}")[1]["parameters"]
            if told["generation"] == self._generation and (
                state is None or told["challenger"]["state"] == state
            ):
                return
            assert time.monotonic() < deadline, told
            time.sleep(0.02)

    def ask(self, *rows: list[float | None], key: str | int | None = None) -> str:
        """The id of the answered request."""
        return self.infer(matrix_request(*(rows or (ROW,)), key=key))

    def infer(self, body: Any) -> str:
        status, answer = self.process.infer(body)
        assert status == 200, answer
        prediction_id = str(answer["parameters"]["prediction_id"])
        self.answered[prediction_id] = answer
        return prediction_id

    def rows(self) -> list[dict[str, Any]]:
        """All that is in the log."""
        now = datetime.now(UTC)
        frames = scan(self.store, LIFECYCLE, now - timedelta(hours=1), now + timedelta(hours=1))
        return [row for frame in frames for row in frame.to_dicts()]

    def wait(self, rows: int, seconds: float = 20.0) -> list[dict[str, Any]]:
        """All that is in the log, once it has so many rows; never more."""
        deadline = time.monotonic() + seconds
        while len(found := self.rows()) < rows:
            assert time.monotonic() < deadline, f"{len(found)} of {rows} rows\n{self.process.log}"
            time.sleep(0.05)
        assert len(found) == rows
        return found

    def find(self, prediction_id: str) -> list[LoggedRow]:
        return find(self.store, prediction_id, LIFECYCLE)

    def metric(self, name: str, **labels: str) -> float:
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        text = self.process.get("/metrics")[1]
        return sum(
            float(line.rpartition(" ")[2])
            for line in text.splitlines()
            if line.split("{")[0].split(" ")[0] == f"windtunnel_serving_{name}"
            and all(one in line for one in wanted)
        )

    def wait_for_metric(self, name: str, at_least: float, **labels: str) -> float:
        deadline = time.monotonic() + 30
        while (value := self.metric(name, **labels)) < at_least:
            assert time.monotonic() < deadline, f"{name} is {value}\n{self.process.log}"
            time.sleep(0.05)
        return value

    def writer(self) -> int:
        """The process id of the one that writes the log."""
        deadline = time.monotonic() + 20
        while True:
            for child in descendants(self.process.process.pid):
                if writes_the_log(child) and is_alive(child):
                    return child
            assert time.monotonic() < deadline, self.process.log
            time.sleep(0.02)


def descendants(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += map(int, (task / "children").read_text().split())
    return found


@pytest.fixture
def server() -> Iterator[S3Server]:
    with s3_server() as running:
        yield running


@pytest.fixture
def logged(tmp_path: Path, server: S3Server) -> Iterator[Logged]:
    with running(Logged(tmp_path, server)) as logged:
        yield logged


@contextmanager
def running(logged: Logged) -> Iterator[Logged]:
    with logged.process as process:
        process.wait_for("/v2/health/ready")
        logged.settle()
        yield logged


def test_an_answer_is_logged_as_it_was_given(logged: Logged) -> None:
    before = datetime.now(UTC)
    row: list[float | None] = [0.1, None, 0.3, 4.0, -0.5]
    prediction_id = logged.ask(row, key="çüstomer")
    answer = logged.answered[prediction_id]
    logged.wait(1)
    (found,) = logged.find(prediction_id)
    assert found.features == dict(zip(FEATURES, row, strict=True))
    assert list(found.features) == list(FEATURES)
    assert found.prediction == answer["outputs"][0]["data"][0]
    assert (found.row, found.version, found.digest, found.role) == (
        0,
        "1",
        logged.champion.digest,
        "champion",
    )
    assert (found.key, found.entities, found.event_time) == ("çüstomer", None, None)
    assert (found.missing, found.stale) == (1, None)
    assert before - timedelta(milliseconds=1) <= found.time <= datetime.now(UTC)
    assert found.latency_seconds is not None
    assert 0 < found.latency_seconds < 10
    assert found.writer
    assert list(logged.rows()[0]) == list(COLUMNS)
    assert logged.wait_for_metric("log_rows_total", 1) == 1
    assert logged.metric("log_drops_total") == 0
    assert logged.metric("log_buffered_bytes") == 0

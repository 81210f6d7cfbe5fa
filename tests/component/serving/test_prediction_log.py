"""The prediction log of a real serving process: what is in it, and what happens to it when things die."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from canary import ROW, is_alive, wait_for_end, writes_the_log
from misbehaving import LOUD, make_misbehaving
from s3_server import S3Server, s3_server
from served_bundle import (
    FEATURES,
    LIFECYCLE,
    answers,
    make_version,
    matrix_request,
    served_model,
    write_served_model,
)
from serving_process import ServingProcess
from waiting import HANG, until

from windtunnel.objects import open_store
from windtunnel.prediction_log.columns import COLUMNS
from windtunnel.prediction_log.reading import LoggedRow, find, scan
from windtunnel.prediction_log.sampling import takes, threshold

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

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
            # the later of two settings counts
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
        deadline = time.monotonic() + HANG
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

    def rows(self, ids: Collection[str] | None = None) -> list[dict[str, Any]]:
        """What is in the log, of these predictions or of all."""
        now = datetime.now(UTC)
        frames = scan(self.store, LIFECYCLE, now - timedelta(hours=1), now + timedelta(hours=1))
        rows = [row for frame in frames for row in frame.to_dicts()]
        return [row for row in rows if ids is None or row["prediction_id"] in ids]

    def wait(self, rows: int, ids: Collection[str] | None = None) -> list[dict[str, Any]]:
        """What is in the log, of these predictions or of all, once it has so many rows; never more."""
        deadline = time.monotonic() + HANG
        while len(found := self.rows(ids)) < rows:
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
        deadline = time.monotonic() + HANG
        while (value := self.metric(name, **labels)) < at_least:
            assert time.monotonic() < deadline, f"{name} is {value}\n{self.process.log}"
            time.sleep(0.05)
        return value

    def writer(self) -> int:
        """The process id of the one that writes the log."""
        deadline = time.monotonic() + HANG
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


@pytest.fixture
def shared(logged_for_long: Logged) -> Logged:
    """One that lives through several tests, which look at their own predictions only; nothing stands beside
    its champion."""
    logged_for_long.want()
    logged_for_long.settle()
    return logged_for_long


@pytest.fixture(scope="module")
def logged_for_long(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Logged]:
    with s3_server() as own, running(Logged(tmp_path_factory.mktemp("logged"), own)) as logged:
        yield logged


@contextmanager
def running(logged: Logged) -> Iterator[Logged]:
    with logged.process as process:
        process.wait_for("/v2/health/ready")
        logged.settle()
        yield logged


def test_an_answer_is_logged_as_it_was_given(shared: Logged) -> None:
    before = datetime.now(UTC)
    row: list[float | None] = [0.1, None, 0.3, 4.0, -0.5]
    prediction_id = shared.ask(row, key="çüstomer")
    answer = shared.answered[prediction_id]
    shared.wait(1, {prediction_id})
    (found,) = shared.find(prediction_id)
    assert found.features == dict(zip(FEATURES, row, strict=True))
    assert list(found.features) == list(FEATURES)
    assert found.prediction == answer["outputs"][0]["data"][0]
    assert (found.row, found.version, found.digest, found.role) == (
        0,
        "1",
        shared.champion.digest,
        "champion",
    )
    assert (found.key, found.entities, found.event_time) == ("çüstomer", None, None)
    assert (found.missing, found.stale) == (1, None)
    assert before - timedelta(milliseconds=1) <= found.time <= datetime.now(UTC)
    assert found.latency_seconds is not None
    assert 0 < found.latency_seconds < HANG
    assert found.writer
    assert list(shared.rows()[0]) == list(COLUMNS)


def test_a_large_batch_is_logged_row_by_row(shared: Logged) -> None:
    rows: list[list[float | None]] = [[i / 1e4, 0.0, None if i % 3 else 1.0, 0.0, 0.0] for i in range(10_000)]
    prediction_id = shared.ask(*rows)
    alone = shared.ask()
    shared.wait(10_001, {prediction_id, alone})
    found = shared.find(prediction_id)
    assert [row.row for row in found] == list(range(10_000))
    assert [list(row.features.values()) for row in found] == rows
    assert [row.prediction for row in found] == shared.answered[prediction_id]["outputs"][0]["data"]
    assert [row.missing for row in found] == [int(bool(i % 3)) for i in range(10_000)]
    assert len(shared.find(alone)) == 1


def test_each_version_has_its_files_and_a_shadow_its_requests_ids(shared: Logged) -> None:
    second = make_version(shared.store, "2", 0.5)
    shared.want(second, traffic=50)
    shared.settle("Ready")
    routed = [shared.ask(key=f"key {number}") for number in range(40)]
    shared.want(second, shadow=True)
    shared.settle("Ready")
    copied = [shared.ask([number, 0.0, 0.0, 0.0, 0.0], key=number) for number in range(20)]
    rows = shared.wait(80, {*routed, *copied})
    weights = {"1": 1.0, "2": 0.5}
    assert {(row["version"], row["digest"]) for row in rows} == {
        ("1", shared.champion.digest), ("2", second.digest),
    }  # fmt: skip
    for row in rows:
        expected = answers([list(row["features"].values())], weights[row["version"]])[0]
        assert row["prediction"] == pytest.approx(expected, abs=1e-6)
    by_id = {one: [row for row in rows if row["prediction_id"] == one] for one in routed}
    for prediction_id, of_one in by_id.items():
        parameters = shared.answered[prediction_id]["parameters"]
        role = "fallback" if parameters.get("fallback") else parameters["role"]
        assert [(row["role"], row["version"]) for row in of_one] == [
            (role, shared.answered[prediction_id]["model_version"])
        ]
    assert {row["role"] for of_one in by_id.values() for row in of_one} >= {"champion", "challenger"}
    for number, prediction_id in enumerate(copied):
        champion, shadow = shared.find(prediction_id)
        assert (champion.role, champion.version, shadow.role, shadow.version) == (
            "champion",
            "1",
            "shadow",
            "2",
        )
        assert champion.features == shadow.features
        assert champion.features["carrier_delay"] == number
        assert (champion.key, shadow.key) == (str(number), str(number))
    now = datetime.now(UTC)
    for frame in scan(shared.store, LIFECYCLE, now - timedelta(hours=1), now + timedelta(hours=1)):
        assert frame["version"].n_unique() == 1


def test_a_challengers_failure_is_logged_as_the_champions_answer(shared: Logged) -> None:
    shared.want(make_misbehaving(shared.store, "9", "raises"), traffic=100)
    shared.settle("Ready")
    prediction_id = shared.ask([2 * LOUD, 0.0, 0.0, 0.0, 0.0])
    shared.wait(1, {prediction_id})
    (found,) = shared.find(prediction_id)
    assert (found.role, found.version, found.digest) == ("fallback", "1", shared.champion.digest)


def test_the_sample_decides_for_all_roles_of_a_prediction(shared: Logged) -> None:
    second = make_version(shared.store, "3", 0.5)
    copies = {"version": second.version, "mode": "shadow"}
    before = shared.metric("challenger_requests_total", **copies)
    shared.want(second, shadow=True, sample=0.0)
    shared.settle("Ready")
    none = [shared.ask(key=number) for number in range(20)]
    shared.want(second, shadow=True, sample=0.3)
    shared.settle("Ready")
    some = [shared.ask(key=number) for number in range(300)]
    # a copy that is scored later goes by the sample of then
    shared.wait_for_metric("challenger_requests_total", before + len(none) + len(some), **copies)
    shared.want(second, shadow=True, sample=1.0)
    shared.settle("Ready")
    every = [shared.ask(key=number) for number in range(20)]
    taken = {one for one in some if takes(one, threshold(0.3))}
    # five standard deviations
    assert 50 < len(taken) < 130
    rows = shared.wait(2 * (len(taken) + len(every)), {*none, *some, *every})
    assert {row["prediction_id"] for row in rows} == taken | set(every)
    assert not set(none) & {row["prediction_id"] for row in rows}
    assert sum(row["role"] == "shadow" for row in rows) == len(taken) + len(every)
    assert shared.metric("log_drops_total") == 0


def test_nothing_writes_where_nothing_is_logged(tmp_path: Path, server: S3Server) -> None:
    logged = Logged(tmp_path, server)
    logged.want(sample=0.0)
    with running(logged):
        logged.ask()
        assert [child for child in descendants(logged.process.process.pid) if writes_the_log(child)] == []
    assert logged.rows() == []


ODD_KEYS: dict[str, str | int] = {
    "long": "k" * 1000,
    "empty": "",
    "zero": "a\0b",
    "emoji": "🛩️" * 100,
    "right to left": "\u202egnirts",
    "number": -(2**63),
}


def test_any_key_is_logged(shared: Logged) -> None:
    ids = {name: shared.ask(key=key) for name, key in ODD_KEYS.items()}
    shared.wait(len(ids), set(ids.values()))
    keys = {name: shared.find(prediction_id)[0].key for name, prediction_id in ids.items()}
    assert keys == {name: str(key) for name, key in ODD_KEYS.items()}


def test_a_killed_writer_takes_nothing_with_it(tmp_path: Path, server: S3Server) -> None:
    with running(Logged(tmp_path, server, "--log-seconds", "1.5")) as logged:
        for _ in range(2):
            for number in range(30):
                logged.ask(key=number)
            # what it has is not stored yet
            time.sleep(0.4)
            os.kill(logged.writer(), signal.SIGKILL)
        rows = logged.wait(60)
        assert {row["prediction_id"] for row in rows} == set(logged.answered)
        assert logged.metric("log_writer_restarts_total") == 2
        assert logged.metric("log_rows_total") == 60
        assert logged.metric("log_drops_total") == 0
        assert logged.metric("log_buffered_bytes") == 0


def test_a_store_that_comes_back_gets_all(logged: Logged) -> None:
    logged.ask()
    logged.wait(1)
    logged.server.fault = HTTPStatus.FORBIDDEN
    for number in range(50):
        logged.ask(key=number)
    logged.wait_for_metric("log_store_failures_total", 1)
    assert logged.metric("log_buffered_bytes") > 0
    os.kill(logged.writer(), signal.SIGKILL)
    for number in range(50):
        logged.ask(key=number)
    logged.wait_for_metric("log_writer_restarts_total", 1)
    logged.server.fault = None
    assert {row["prediction_id"] for row in logged.wait(101)} == set(logged.answered)
    assert logged.wait_for_metric("log_rows_total", 101) == 101


def test_what_a_full_buffer_cannot_hold_is_dropped_and_counted(tmp_path: Path, server: S3Server) -> None:
    batch = [ROW] * 2000
    with running(Logged(tmp_path, server, "--log-buffer-mib", "1")) as logged:
        logged.server.fault = HTTPStatus.FORBIDDEN
        for _ in range(20):
            logged.ask(*batch)
        dropped = logged.wait_for_metric("log_drops_total", 1, reason="buffer_full")
        assert 0 < logged.metric("log_buffered_bytes") <= 1 << 20
        logged.server.fault = None
        kept = int(20 * 2000 - dropped)
        assert len(logged.wait(kept)) == kept
        # and afterwards all is as before
        logged.ask()
        logged.wait(kept + 1)
        assert logged.metric("log_drops_total") == dropped


def test_what_was_answered_before_the_end_is_logged(tmp_path: Path, server: S3Server) -> None:
    logged = Logged(tmp_path, server, "--log-seconds", "60")
    with running(logged):
        stop = threading.Event()
        ids: list[str] = []

        def ask() -> None:
            while not stop.is_set():
                status, answer = logged.process.infer(matrix_request(ROW))
                if status == 200:
                    ids.append(answer["parameters"]["prediction_id"])

        callers = [threading.Thread(target=ask) for _ in range(4)]
        for caller in callers:
            caller.start()
        until(lambda: len(ids) > 100)
        logged.process.process.send_signal(signal.SIGTERM)
        logged.process.process.wait(HANG)
        stop.set()
        for caller in callers:
            caller.join()
    assert {row["prediction_id"] for row in logged.rows()} >= set(ids)
    assert "lost" not in logged.process.log


def test_the_writer_stores_what_it_has_when_the_server_is_killed(tmp_path: Path, server: S3Server) -> None:
    logged = Logged(tmp_path, server, "--log-seconds", "60")
    with running(logged):
        for number in range(20):
            logged.ask(key=number)
        writer = logged.writer()
        # chunks are sent within a quarter of a second
        time.sleep(0.6)
        os.kill(logged.process.process.pid, signal.SIGKILL)
        logged.process.process.wait(HANG)
        assert len(logged.wait(20)) == 20
        wait_for_end(writer)

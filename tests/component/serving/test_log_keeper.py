"""The prediction log and its writer's process, without a server: an hour's edge, and a writer that hangs, or
dies and dies, or has no store."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from waiting import HANG

from windtunnel.objects import ObjectStore, open_store
from windtunnel.prediction_log.reading import find, read
from windtunnel.serving import log_keeper
from windtunnel.serving.inputs import Batch, InputPlan
from windtunnel.serving.log_keeper import LogKeeper, log_command
from windtunnel.serving.metrics import Metrics
from windtunnel.serving.model import VersionInterface
from windtunnel.serving.prediction_log import PredictionLog
from windtunnel.serving.protocol import InferRequest
from windtunnel.serving.question import Question
from windtunnel.serving.rows import Rows

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

LIFECYCLE = "demo"
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
MIB = 1 << 20


def version(name: str = "1", features: Sequence[str] = ("b", "a"), **keys: str) -> VersionInterface:
    return VersionInterface(
        lifecycle=LIFECYCLE,
        version=name,
        digest=f"sha256:{name}",
        runtime="onnx",
        output="value",
        plan=InputPlan(dict.fromkeys(features, "request"), keys),
        inputs=tuple(features),
        single_precision=True,
        reader=None,
        online_columns=(),
    )


ONE = version()


def question(moment: datetime, number: int = 0, entities: dict[str, Any] | None = None) -> Question:
    head = f"{round(moment.timestamp() * 1000):012x}"
    prediction_id = f"{head[:8]}-{head[8:]}-7000-8000-{number:012x}"
    return Question(InferRequest(inputs=[]), Batch(np.zeros((1, 2)), entities), prediction_id, None, 0.0)


def record(log: PredictionLog, asked: Question, by: VersionInterface = ONE, rows: int = 1) -> None:
    matrix = np.full((rows, len(by.plan.features)), 0.5)
    log.record(by, asked, Rows(matrix, 0, 0, None), [0.25] * rows, "champion", 0.001)


class World:
    """A prediction log in this process."""

    def __init__(self, store: str, command: list[str] | None = None, most: int = 4 * MIB) -> None:
        self.store = open_store(store, {})
        self.metrics = Metrics()
        self.keeper = LogKeeper(command or log_command(0.2), self.metrics.log)
        self.log = PredictionLog(self.metrics.log, self.keeper, most)

    def metric(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(f"windtunnel_serving_log_{name}", labels) or 0.0

    async def until(self, good: Callable[[], bool]) -> None:
        deadline = time.monotonic() + HANG
        while not good():
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A store, which a writer's process finds as well."""
    monkeypatch.setenv("WINDTUNNEL_STORE", str(tmp_path / "store"))
    return str(tmp_path / "store")


def run(act: Callable[[], Awaitable[None]]) -> None:
    async def whole() -> None:
        await act()

    asyncio.run(whole())


def keys(store: ObjectStore) -> list[str]:
    return [entry.key for entry in store.list(LIFECYCLE)]


def test_predictions_at_an_hours_edge_lie_in_their_own_hour(place: str) -> None:
    """Those of two hours and two versions, mixed: a late shadow's id is of the former hour."""

    async def act() -> None:
        world = World(place)
        world.log.sample(1)
        step = timedelta(milliseconds=1)
        two = version("2", ("c",))
        for number in range(100):
            record(
                world.log, question(NOON - step if number % 3 else NOON, number), two if number % 2 else ONE
            )
        await world.log.close(HANG)
        assert world.metric("rows_total") == 100
        folders = {key.rpartition("/")[0]: key for key in keys(world.store)}
        assert set(folders) == {f"{LIFECYCLE}/predictions/2026-11-24/{hour}" for hour in ("11", "12")}
        before = read(world.store, LIFECYCLE, NOON - timedelta(hours=1), NOON)
        after = read(world.store, LIFECYCLE, NOON, NOON + timedelta(hours=1))
        assert {digest: len(frame) for digest, frame in before.items()} == {"sha256:1": 33, "sha256:2": 33}
        assert {digest: len(frame) for digest, frame in after.items()} == {"sha256:1": 17, "sha256:2": 17}
        for number in range(100):
            asked = question(NOON - step if number % 3 else NOON, number)
            (row,) = find(world.store, asked.id, LIFECYCLE)
            assert row.features == ({"c": 0.5} if number % 2 else {"b": 0.5, "a": 0.5})

    run(act)


def test_entities_are_logged_with_their_types(place: str) -> None:
    async def act() -> None:
        world = World(place)
        world.log.sample(1)
        keyed = version("1", carrier="STRING", route_id="INT64")
        long = "x" * 1_000_000
        several: dict[str, Any] = {"carrier": ["UA", "", long], "route_id": [2**63 - 1, -(2**63), 0]}
        record(world.log, question(NOON, 1, several), keyed, rows=3)
        record(world.log, question(NOON, 2), keyed)
        await world.log.close(HANG)
        found = [row.entities for row in find(world.store, question(NOON, 1).id, LIFECYCLE)]
        assert found[:2] == [
            {"carrier": "UA", "route_id": 2**63 - 1},
            {"carrier": "", "route_id": -(2**63)},
        ]
        shortened = str((found[2] or {})["carrier"])
        assert shortened.startswith("x" * 900)
        assert len(shortened) < 1100
        assert [row.entities for row in find(world.store, question(NOON, 2).id, LIFECYCLE)] == [None]

    run(act)


def test_what_no_file_can_hold_takes_nothing_else_with_it(place: str) -> None:
    """Records that do not fit their version's features, as no server makes them."""

    async def act() -> None:
        world = World(place)
        world.log.sample(1)
        record(world.log, question(NOON, 1))
        await world.until(lambda: world.metric("rows_total") == 1)
        narrow = Rows(np.zeros((1, 1)), 0, 0, None)
        world.log.record(ONE, question(NOON, 2), narrow, [0.25], "champion", 0.001)
        world.log._send_all()
        record(world.log, question(NOON, 3))
        # a name that makes arro3 panic
        record(world.log, question(NOON, 6), version("3", ("a\0b",)))
        strange: Any = [object()]
        world.log.record(ONE, question(NOON, 4), narrow, strange, "champion", 0.001)
        record(world.log, question(NOON, 5))
        await world.log.close(HANG)
        assert world.metric("rows_total") == 3
        assert world.metric("drops_total", reason="unfit") == 3
        assert world.metric("writer_restarts_total") == 0
        for number, rows in ((1, 1), (2, 0), (3, 1), (4, 0), (5, 1), (6, 0)):
            assert len(find(world.store, question(NOON, number).id, LIFECYCLE)) == rows

    run(act)


def test_the_buffer_holds_its_bound_whatever_comes(place: str) -> None:
    """Entities weigh as much as features."""

    async def act() -> None:
        world = World(place, most=MIB)
        world.log.sample(1)
        keyed = version("1", carrier="STRING")
        large: dict[str, Any] = {"carrier": ["x" * 1000] * 2000}
        wide = version("2", tuple(f"f{number}" for number in range(100)))
        for number in range(5):
            record(world.log, question(NOON, number, large), keyed, rows=2000)
            record(world.log, question(NOON, number), wide, rows=2000)
        assert world.metric("drops_total", reason="buffer_full") == 20_000
        assert world.metric("buffered_bytes") == 0
        for number in range(20):
            record(world.log, question(NOON, number, {"carrier": ["x" * 1000] * 100}), keyed, rows=100)
        assert 0.8 * MIB < world.metric("buffered_bytes") <= MIB
        await world.log.close(HANG)
        dropped = world.metric("drops_total", reason="buffer_full") - 20_000
        assert world.metric("rows_total") == 2000 - dropped
        assert world.metric("drops_total", reason="unfit") == 0
        assert len(keys(world.store)) == 1

    run(act)


def test_a_writer_that_stands_still_fills_the_buffer_and_no_more(place: str) -> None:
    async def act() -> None:
        world = World(place, most=MIB)
        world.log.sample(1)
        record(world.log, question(NOON))
        await world.until(lambda: world.metric("rows_total") == 1)
        assert world.keeper._link is not None
        writer = world.keeper._link._process.pid
        os.kill(writer, signal.SIGSTOP)
        for number in range(1, 20_000):
            record(world.log, question(NOON, number))
        dropped = world.metric("drops_total", reason="buffer_full")
        assert dropped > 5_000
        assert world.metric("buffered_bytes") <= MIB
        await asyncio.sleep(0.5)
        os.kill(writer, signal.SIGCONT)
        await world.log.close(HANG)
        assert world.metric("rows_total") + dropped == 20_000
        assert world.metric("drops_total", reason="shutdown") == 0

    run(act)


def test_a_writer_that_is_silent_for_too_long_is_replaced(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_keeper, "_LOOK", 0.1)

    async def act() -> None:
        world = World(place)
        world.log.sample(1)
        record(world.log, question(NOON))
        await world.until(lambda: world.metric("rows_total") == 1)
        assert world.keeper._link is not None
        os.kill(world.keeper._link._process.pid, signal.SIGSTOP)
        record(world.log, question(NOON, 1))
        with monkeypatch.context() as patch:
            patch.setattr(log_keeper, "_SILENCE", 0.5)
            await world.until(lambda: world.keeper._link is None)
        await world.until(lambda: world.metric("rows_total") == 2)
        assert world.metric("writer_restarts_total") == 1
        await world.log.close(HANG)

    run(act)


@pytest.mark.parametrize(
    "command",
    [["/nowhere/python"], [sys.executable, "-S", "-c", "raise SystemExit(3)"]],
    ids=["absent", "dies"],
)
def test_a_writer_that_dies_and_dies_costs_its_rows_and_nothing_else(
    place: str, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.setattr(log_keeper, "_RESTART", (0.01,))

    async def act() -> None:
        world = World(place, command)
        world.log.sample(1)
        record(world.log, question(NOON))
        await world.until(lambda: world.metric("drops_total", reason="writer_died") == 1)
        assert world.metric("writer_restarts_total") >= log_keeper.DEATHS - 1
        assert world.metric("buffered_bytes") == 0
        record(world.log, question(NOON, 1))
        await world.log.close(0.2)
        assert (
            world.metric("drops_total", reason="writer_died") + world.metric("drops_total", reason="shutdown")
            == 2
        )
        assert keys(world.store) == []

    run(act)


def test_the_end_waits_for_a_store_that_is_away_so_long_and_no_longer(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        # it takes connections and says nothing
        monkeypatch.setenv("WINDTUNNEL_STORE", "s3://bucket")
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{deaf.getsockname()[1]}")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")

        async def act() -> None:
            world = World(place)
            world.log.sample(1)
            record(world.log, question(NOON), rows=7)
            await world.log.close(1.0)
            assert world.metric("drops_total", reason="shutdown") == 7
            record(world.log, question(NOON, 1))
            assert world.metric("drops_total", reason="shutdown") == 8

        run(act)


def test_a_writer_is_started_at_once_for_the_end(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that died is waited for no longer than it takes to start another."""
    monkeypatch.setattr(log_keeper, "_RESTART", (3600.0,))

    async def act() -> None:
        world = World(place)
        world.log.sample(1)
        record(world.log, question(NOON))
        await world.until(lambda: world.metric("rows_total") == 1)
        assert world.keeper._link is not None
        os.kill(world.keeper._link._process.pid, signal.SIGKILL)
        await world.until(lambda: world.keeper._link is None)
        record(world.log, question(NOON, 1))
        await world.log.close(HANG)
        assert world.metric("rows_total") == 2

    run(act)


def test_no_thread_and_no_process_is_left(place: str) -> None:
    async def act() -> None:
        world = World(place)
        world.log.sample(1)
        record(world.log, question(NOON))
        await world.until(lambda: world.keeper._link is not None)
        assert world.keeper._link is not None
        process = world.keeper._link._process
        await world.log.close(HANG)
        assert process.returncode == 0

    run(act)
    assert not [thread for thread in threading.enumerate() if thread.name == "store"]

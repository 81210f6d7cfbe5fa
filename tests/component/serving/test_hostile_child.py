"""Processes that are no challengers at all: what comes over the socket is never trusted."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from canary import ROW, children_of
from no_log import no_log
from served_bundle import LIFECYCLE, answers, make_version, matrix_request, served_model
from waiting import HANG

from windtunnel.digests import canonical_json
from windtunnel.registry.bundle import read_bundle
from windtunnel.serving import challenger_keeper, challenger_link, child_process, protocol
from windtunnel.serving.challenger import Challenger
from windtunnel.serving.dataplane import Answered, Dataplane
from windtunnel.serving.loader import BundleLoader
from windtunnel.serving.metrics import Metrics
from windtunnel.spec.servedmodel import ServedModel

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from windtunnel.objects import ObjectStore

PREAMBLE = """
import os, socket, struct, sys, time
sock = socket.socket(fileno=int(sys.argv[sys.argv.index("--socket") + 1]))
manifest = open(sys.argv[1], "rb").read()
def say(kind, number, payload):
    sock.sendall(struct.pack("<IBQ", len(payload), kind, number) + payload)
def exactly(size):
    got = b""
    while len(got) < size:
        more = sock.recv(size - len(got))
        if not more:
            sys.exit(0)
        got += more
    return got
def listen():
    length, kind, number = struct.unpack("<IBQ", exactly(13))
    exactly(length)
    return number
def part(*values, seconds=0.001):
    return struct.pack("<dBI", seconds, 1, len(values)) + struct.pack(f"<{len(values)}d", *values)
READY, ANSWERS = 3, 2
"""
READY = "say(READY, 0, manifest)\n"
LOOP = READY + "while True:\n    number = listen()\n    "

HOSTILE = {
    "garbage": LOOP + "sock.sendall(os.urandom(1000))",
    "a frame of 4 GiB": LOOP + "sock.sendall(struct.pack('<IBQ', 2**32 - 1, ANSWERS, number))",
    "an unknown kind": LOOP + "say(9, number, part(0.5))",
    "an answer to nothing": LOOP + "say(ANSWERS, number + 1000, part(0.5))",
    "the same answer twice": LOOP
    + "say(ANSWERS, number, part(float('nan'))); say(ANSWERS, number, part(0.5))",
    "two answers to one matrix": LOOP + "say(ANSWERS, number, part(0.5) + part(0.5))",
    "no answer": LOOP + "say(ANSWERS, number, b'')",
    "half an answer": LOOP + "say(ANSWERS, number, part(0.5)[:-1])",
    "half a head of an answer": LOOP + "say(ANSWERS, number, part(0.5)[:5])",
    "a length beyond its payload": LOOP + "say(ANSWERS, number, struct.pack('<dBI', 0.1, 1, 2**31))",
    "too many values": LOOP + "say(ANSWERS, number, part(0.5, 0.5, 0.5))",
    "too few values": LOOP + "say(ANSWERS, number, part())",
    "NaN": LOOP + "say(ANSWERS, number, part(float('nan')))",
    "infinity": LOOP + "say(ANSWERS, number, part(float('inf')))",
    "time that does not exist": LOOP + "say(ANSWERS, number, part(0.5, seconds=float('nan')))",
    "an error that is no text": LOOP
    + "say(ANSWERS, number, struct.pack('<dBI', 0.1, 0, 4) + b'\\xff\\xfe\\x00\\n')",
    "two greetings": READY + "say(READY, 0, manifest)\nlisten()",
    "an end at once": READY + "sys.exit(3)",
    "an end at each request": LOOP + "os._exit(1)",
    "a closed socket": LOOP + "sock.close(); time.sleep(60)",
    "half a frame": LOOP + "sock.sendall(b'\\x01'); time.sleep(60)",
    "silence": LOOP + "time.sleep(60)",
    "deafness": READY + "time.sleep(60)",
    "a fork bomb that keeps the socket": LOOP + "os.fork() or time.sleep(3); os._exit(0)",
}
NOT_READY = {
    "no greeting": "time.sleep(60)",
    "an end before the greeting": "sys.exit(3)",
    "a greeting of garbage": "say(READY, 0, b'{')\nlisten()",
    "a greeting that is no manifest": "say(READY, 0, b'[1]')\nlisten()",
    "an error of garbage": "say(4, 0, b'nothing')\nlisten()",
    "garbage at once": "sock.sendall(b'GET / HTTP/1.1' * 10)\nlisten()",
    "no program": "import nothing_of_that_name",
}


class Served:
    """A dataplane in this process, whose challenger runs `script`."""

    def __init__(self, store: ObjectStore, directory: Path, script: str) -> None:
        self.metrics = Metrics()
        load = BundleLoader(store, None)
        champion, second = make_version(store, "1", 1.0), make_version(store, "2", 1.0)
        manifest = directory / "manifest.json"
        manifest.write_bytes(canonical_json(read_bundle(store, second.bundle, second.digest).manifest))
        command = [sys.executable, "-c", PREAMBLE + script, str(manifest)]
        log = no_log(self.metrics)
        self.challenger = Challenger(self.metrics, lambda *_: command, load.interface, log.record)
        self.dataplane = Dataplane(self.metrics, self.challenger, log)
        self.dataplane.lifecycle = LIFECYCLE
        self.dataplane.swap(load(LIFECYCLE, champion))
        value = served_model(champion, challenger=second, traffic=100, shadow=True)
        self.spec = ServedModel.model_validate(value).spec

    async def __aenter__(self) -> Served:
        self.challenger.want(self.spec)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.challenger.stop()
        assert children_of(os.getpid()) == []

    async def until(self, good: Callable[[Any], bool]) -> dict[str, Any]:
        deadline = time.monotonic() + HANG
        while not good(said := self.challenger.describe()):
            assert time.monotonic() < deadline, said
            await asyncio.sleep(0.01)
        assert said is not None
        return said

    async def ask(self, rows: int = 1) -> str:
        """The role that answered; the answer is right and came, whoever gave it."""
        champion = self.dataplane.champion
        assert champion is not None
        request = protocol.parse(json.dumps(matrix_request(*[ROW] * rows)).encode())
        answered = self.dataplane.infer(champion, request)
        if not isinstance(answered, Answered):
            answered = await asyncio.wait_for(answered, HANG)
        role, answer = answered
        assert answer.outputs[0].data == pytest.approx(answers([ROW] * rows, 1.0).tolist(), abs=1e-6)
        return role

    def count(self, name: str, **labels: str) -> float:
        names = {"model": LIFECYCLE, "version": "2", **labels}
        return self.metrics.registry.get_sample_value(f"windtunnel_serving_challenger_{name}", names) or 0.0


@pytest.mark.parametrize("name", HOSTILE)
def test_no_request_is_lost_to_it(
    store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(challenger_link, "SILENCE", 0.6)
    monkeypatch.setattr(child_process, "LAST_WORDS", 0.2)

    async def run() -> None:
        async with Served(store, tmp_path, HOSTILE[name]) as served:
            await served.until(lambda _: served.challenger.split is not None)
            roles = [await served.ask() for _ in range(5)]
            roles += await asyncio.gather(*(served.ask(rows) for rows in (1, 300, 1, 2, 1)))
            assert set(roles) == {"fallback"}
            faults = sum(
                served.count("faults_total", mode="routed", reason=reason)
                for reason in ("error", "timeout", "not_a_number", "died", "overloaded")
            )
            assert faults == served.count("requests_total", mode="routed") == len(roles)

    asyncio.run(run())


@pytest.mark.parametrize("name", NOT_READY)
def test_one_that_never_introduces_itself_gets_no_request(
    store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(challenger_keeper, "_LOAD_SECONDS", 0.5)
    monkeypatch.setattr(child_process, "LAST_WORDS", 0.2)

    async def run() -> None:
        async with Served(store, tmp_path, NOT_READY[name]) as served:
            assert {await served.ask() for _ in range(5)} == {"champion"}
            said = await served.until(lambda said: said["state"] in ("Quarantined", "Rejected"))
            assert said["message"]
            assert {await served.ask() for _ in range(5)} == {"champion"}
            assert served.count("faults_total") == 0

    asyncio.run(run())


def test_a_command_that_does_not_exist_is_quarantined(store: ObjectStore, tmp_path: Path) -> None:
    async def run() -> None:
        served = Served(store, tmp_path, "")
        served.challenger = Challenger(
            served.metrics,
            lambda *_: ["/nowhere/python"],
            BundleLoader(store, None).interface,
            served.dataplane.log.record,
        )
        async with served:
            said = await served.until(lambda said: said["state"] == "Quarantined")
            assert "No such file" in said["message"]

    asyncio.run(run())


def test_what_waits_for_a_deaf_one_is_bounded(store: ObjectStore, tmp_path: Path) -> None:
    """It never reads: its socket fills, then our buffers, then it is full."""

    async def run() -> None:
        async with Served(store, tmp_path, HOSTILE["deafness"]) as served:
            await served.until(lambda said: said["state"] == "Ready")
            for overloaded in (0, 60):
                roles = await asyncio.gather(*(served.ask(2000) for _ in range(60)))
                assert set(roles) == {"fallback"}
                # the second time it has been late already, and nobody waits
                assert served.count("faults_total", mode="routed", reason="overloaded") == overloaded
            huge = protocol.parse(json.dumps(matrix_request(*[ROW] * 10_000)).encode())
            champion = served.dataplane.champion
            assert champion is not None
            assert (await served.dataplane.infer(champion, huge))[0] == "fallback"

    asyncio.run(run())


def test_a_crowd_at_a_good_challenger_is_no_fault_of_it(store: ObjectStore, tmp_path: Path) -> None:
    good = LOOP + "say(ANSWERS, number, part(*ANSWER))"

    async def run() -> None:
        script = f"ANSWER = {answers([ROW], 1.0).tolist()}\n" + good
        async with Served(store, tmp_path, script) as served:
            await served.until(lambda said: said["state"] == "Ready")
            roles = await asyncio.gather(*(served.ask() for _ in range(200)))
            assert "challenger" in roles
            assert served.count("faults_total", mode="routed", reason="overloaded") == 0

    asyncio.run(run())

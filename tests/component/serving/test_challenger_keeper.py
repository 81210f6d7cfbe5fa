"""One process at a time, however fast the wishes change; and what counts as its silence."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest
import uvloop
from canary import children_of

from windtunnel.serving import challenger_link
from windtunnel.serving.challenger_keeper import ChallengerKeeper
from windtunnel.serving.challenger_link import Fault
from windtunnel.spec.servedmodel import ModelVersion

if TYPE_CHECKING:
    from windtunnel.serving.challenger_keeper import State
    from windtunnel.serving.challenger_link import ChallengerLink
    from windtunnel.serving.model import VersionInterface

MUTE = """
import socket, struct, sys, time
sock = socket.socket(fileno=int(sys.argv[sys.argv.index("--socket") + 1]))
sock.sendall(struct.pack("<IBQ", 2, 3, 0) + b"{}")
time.sleep(60)
"""
"""Ready at once, and answers nothing."""
SLOW = """
import socket, struct, sys, time
sock = socket.socket(fileno=int(sys.argv[sys.argv.index("--socket") + 1]))
sock.sendall(struct.pack("<IBQ", 2, 3, 0) + b"{}")
number = struct.unpack("<IBQ", sock.recv(1000)[:13])[2]
time.sleep(0.2)
sock.sendall(struct.pack("<IBQdBId", 21, 2, number, 0.1, 1, 1, 0.5))
time.sleep(60)
"""
"""Answers one row, after 0.2 s."""


class Heard:
    """What the keeper says of its process."""

    def __init__(self) -> None:
        self.links: asyncio.Queue[ChallengerLink] = asyncio.Queue()
        self.states: list[State] = []

    def up(self, interface: VersionInterface, link: ChallengerLink) -> None:
        self.links.put_nowait(link)

    def down(self) -> None:
        raise AssertionError("none dies by itself")

    def restarted(self) -> None:
        raise AssertionError("none is started again")

    def became(self, state: State, message: str) -> None:
        self.states.append(state)


def version(name: str) -> ModelVersion:
    return ModelVersion(version=name, bundle="s3://bucket/bundle", digest=f"sha256:{int(name):064x}")


def test_the_next_waits_for_all_that_were_told_to_end() -> None:
    beside: list[list[int]] = []

    def command(lifecycle: str, wanted: ModelVersion) -> list[str]:
        beside.append(children_of(os.getpid()))
        return [sys.executable, "-c", MUTE]

    def interface(lifecycle: str, wanted: ModelVersion, manifest: dict[str, Any]) -> VersionInterface:
        return cast("VersionInterface", wanted.version)

    async def run() -> None:
        heard = Heard()
        keeper = ChallengerKeeper(command, interface, heard)
        keeper.keep("demo", version("2"))
        link = await heard.links.get()
        waits = asyncio.create_task(link.predict([], 0.3))
        await asyncio.sleep(0)
        # it ends when the request has had its time; two more wishes come before that
        for name in ("3", "4"):
            keeper.keep("demo", version(name))
            await asyncio.sleep(0.05)
        with pytest.raises(Fault) as fault:
            await waits
        assert fault.value.reason == "timeout"
        await heard.links.get()
        await keeper.stop()

    before = children_of(os.getpid())
    asyncio.run(run())
    assert beside == [before, before]
    assert children_of(os.getpid()) == before


def test_a_pause_of_the_serving_process_itself_is_no_silence_of_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(challenger_link, "SILENCE", 0.3)
    monkeypatch.setattr(challenger_link, "_LOOK", 0.05)

    async def run() -> list[float]:
        link = await challenger_link.start([sys.executable, "-c", SLOW])
        await link.greeting
        asked = asyncio.create_task(link.predict([np.zeros((1, 1))], 5.0))
        # neither of the two runs for a while, as when their machine is moved
        await asyncio.sleep(0.02)
        os.kill(link._process.pid, signal.SIGSTOP)
        time.sleep(0.6)
        os.kill(link._process.pid, signal.SIGCONT)
        (answer,) = await asked
        await link.finish()
        await link.reap()
        assert answer.values is not None
        values: list[float] = answer.values.tolist()
        return values

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(run()) == [0.5]

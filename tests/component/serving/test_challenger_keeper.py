"""One process at a time, however fast the wishes change."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING, Any, cast

import pytest
from canary import children_of

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

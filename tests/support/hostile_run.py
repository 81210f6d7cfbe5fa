"""Sends a serving process many thousands of hostile requests, and sees to it that it does not mind.

Request n of a seed is always the same: `Fuzz(…, seed).one(n)` sends it again.
"""

from __future__ import annotations

import asyncio
import json
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from hostile_answers import Answer, Wrong, judge, read_answer
from hostile_bodies import Request, made
from hostile_wire import CASES, PATIENCE, ROW, Caller, post
from served_bundle import answers

_WIRE_SHARE: Final = 0.15
_STREAM_LIMIT: Final = 16 * 1024 * 1024
_PROBED: Final = 100
"""Requests after which a good one must be answered well."""


@dataclass
class Report:
    """What came of it."""

    requests: int = 0
    statuses: dict[str, int] = field(default_factory=dict)
    """Answers by status; `wire` counts cases of broken or slow HTTP."""
    problems: list[str] = field(default_factory=list)

    def counted(self, what: str) -> None:
        self.requests += 1
        self.statuses[what] = self.statuses.get(what, 0) + 1


class Fuzz:
    """Requests of a seed to a port of this machine."""

    def __init__(self, port: int, seed: int) -> None:
        self._port = port
        self._seed = seed
        self.report = Report()

    def run(self, requests: int, workers: int = 8) -> Report:
        """Send requests 0 to `requests`; stops at ten problems."""
        asyncio.run(self._run(iter(range(requests)), workers))
        return self.report

    def one(self, number: int) -> Report:
        """Send that one again."""
        asyncio.run(self._run(iter([number]), 1))
        return self.report

    async def _run(self, numbers: Any, workers: int) -> None:
        await asyncio.gather(*(self._work(numbers) for _ in range(workers)))

    async def _work(self, numbers: Any) -> None:
        caller: Caller | None = None
        for number in numbers:
            if len(self.report.problems) >= 10:
                break
            rng = random.Random(f"{self._seed}:{number}")
            try:
                if rng.random() < _WIRE_SHARE:
                    await self._wire(rng)
                else:
                    caller = await self._request(caller, made(rng))
                if number % _PROBED == 0:
                    await self._probe()
            except (Wrong, TimeoutError, OSError, ValueError, KeyError) as error:
                self.report.problems.append(f"request {number} of seed {self._seed}: {error!r}")
                caller = None
        if caller is not None:
            caller.writer.close()

    async def _connect(self) -> Caller:
        return Caller(*await asyncio.open_connection("127.0.0.1", self._port, limit=_STREAM_LIMIT))

    async def _wire(self, rng: random.Random) -> None:
        case = rng.choice(CASES)
        caller = await self._connect()
        try:
            async with asyncio.timeout(PATIENCE):
                await case(caller, rng)
        except (Wrong, TimeoutError) as error:
            raise Wrong(f"{case.__name__}: {error!r}") from error
        finally:
            caller.writer.transport.abort()
        self.report.counted("wire")

    async def _request(self, caller: Caller | None, request: Request) -> Caller | None:
        """Send it on the connection, or on a new one; returns the connection if it goes on."""
        if caller is None or caller.writer.is_closing() or caller.reader.at_eof():
            caller = await self._connect()
        async with asyncio.timeout(PATIENCE):
            await caller.send(_whole(request))
            answer = await read_answer(caller.reader, request.method)
        if answer is None:
            raise Wrong(f"no answer to {request.method} {request.target[:80]} {request.headers}")
        self._judge(request, answer)
        if answer.headers.get("connection") == "close":
            caller.writer.close()
            return None
        return caller

    def _judge(self, request: Request, answer: Answer) -> None:
        try:
            judge(request, answer)
        except Exception as error:
            said = (
                f"{request.method} {request.target[:80]} {str(request.headers)[:200]} {request.body[:600]!r}"
            )
            raise Wrong(f"{error!r} for {said}") from error
        self.report.counted(str(answer.status))

    async def _probe(self) -> None:
        """Anybody else is answered all the while."""
        caller = await self._connect()
        await caller.send(post())
        async with asyncio.timeout(PATIENCE):
            answer = await read_answer(caller.reader)
        caller.writer.close()
        if answer is None or answer.status != 200:
            raise Wrong(f"a good request was answered {answer}")
        (value,) = json.loads(answer.body)["outputs"][0]["data"]
        if abs(value - answers([ROW], 1.0)[0]) > 1e-5:
            raise Wrong(f"a good request was answered {value}")


def _whole(request: Request) -> bytes:
    fields = [f"{name}: {value}" for name, value in request.headers]
    if request.method not in {"GET", "HEAD", "TRACE"} or request.body:
        fields.append(f"Content-Length: {len(request.body)}")
    head = "\r\n".join([f"{request.method} {request.target} HTTP/1.1", "Host: x", *fields, "", ""])
    return head.encode("latin-1") + request.body


def memory_mib(pid: int, what: str = "VmRSS") -> float:
    """What a process takes (VmHWM: took at most)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{what}:"):
            return int(line.split()[1]) / 1024
    raise AssertionError(f"{what} of {pid}")


def open_files(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))

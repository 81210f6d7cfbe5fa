"""An open loop of requests against one address: run as a script, in a process of its own, by `load.Load`.

A request is sent when it is due, whatever became of those before it, so that a server that stands still does
not slow down the clock it is measured by. Nothing is sent twice: what is refused, reset or cut off is written
down as a failure. Lines of JSON on standard input are bodies to send from now on; its end ends the load.
Each answer becomes a line of JSON on standard output, in the order of `load.Asked`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import sys
import time
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

SECONDS = 10.0
"""A request without an answer by then has failed."""


class Connection(NamedTuple):
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def is_open(self) -> bool:
        """As far as a client can know: nothing was sent by the server, not even that it closes."""
        # A StreamReader has no public way to ask whether bytes lie there unread.
        unread = self.reader._buffer  # type: ignore[attr-defined]
        return not (self.reader.at_eof() or unread or self.writer.is_closing())

    def close(self) -> None:
        self.writer.close()


class Worker:
    def __init__(self, host: str, port: int, path: str, rate: float, fresh: float) -> None:
        self._host, self._port = host, port
        self._head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        self._rate, self._fresh = rate, fresh
        self._idle: list[Connection] = []
        self._bodies: list[dict[str, Any]] = []
        self._ended = asyncio.Event()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        commands = asyncio.StreamReader(limit=1 << 24)
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
        self._bodies = json.loads(await commands.readline())
        following = loop.create_task(self._follow(commands))
        asking: set[asyncio.Task[None]] = set()
        started = time.time()
        for number in itertools.count():
            due = started + number / self._rate
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), max(0.0, due - time.time()))
            if self._ended.is_set():
                break
            task = loop.create_task(self._ask(number, due))
            asking.add(task)
            task.add_done_callback(asking.discard)
        await asyncio.gather(*asking)
        await following

    async def _follow(self, commands: asyncio.StreamReader) -> None:
        while line := await commands.readline():
            self._bodies = json.loads(line)
        self._ended.set()

    async def _ask(self, number: int, due: float) -> None:
        # Every k-th on a connection of its own, spread evenly.
        fresh = int((number + 1) * self._fresh) > int(number * self._fresh)
        body = self._bodies[number % len(self._bodies)]
        body = {**body, "parameters": {**body.get("parameters", {}), "key": number}}
        sent = time.time()
        try:
            async with asyncio.timeout(SECONDS):
                status, answer = await self._exchange(json.dumps(body).encode(), fresh)
            error = "" if status == 200 else str(answer)[:300]
        except (OSError, EOFError, ValueError, TimeoutError) as problem:
            status, answer, error = 0, {}, f"{type(problem).__name__}: {problem}"
        now = time.time()
        told = answer.get("parameters", {}) if status == 200 else {}
        role = "fallback" if told.get("fallback") else told.get("role", "")
        value = answer["outputs"][0]["data"][0] if status == 200 else None
        line = [
            due,
            now - due,
            now - sent,
            fresh,
            status,
            error,
            answer.get("model_version", ""),
            role,
            value,
        ]
        sys.stdout.write(json.dumps([*line, told.get("prediction_id", "")]) + "\n")
        sys.stdout.flush()

    async def _exchange(self, body: bytes, fresh: bool) -> tuple[int, Any]:
        connection = await self._open(fresh)
        try:
            close = "Connection: close\r\n" if fresh else ""
            connection.writer.write(f"{self._head}{close}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            head = (await connection.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = {
                name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head)
            }
            content = await connection.reader.readexactly(int(headers["content-length"]))
            status, answer = int(head[0].split(" ")[1]), _decoded(content)
        except BaseException:
            connection.close()
            raise
        if fresh or headers.get("connection", "").lower() == "close":
            connection.close()
        else:
            self._idle.append(connection)
        return status, answer

    async def _open(self, fresh: bool) -> Connection:
        while self._idle and not fresh:
            connection = self._idle.pop()
            if connection.is_open():
                return connection
            connection.close()
        return Connection(*await asyncio.open_connection(self._host, self._port))


def _decoded(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return content.decode(errors="replace")


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("path")
    parser.add_argument("--rate", type=float, required=True, help="requests per second")
    parser.add_argument(
        "--fresh", type=float, required=True, help="share on connections of their own, 0 to 1"
    )
    options = parser.parse_args(arguments)
    asyncio.run(Worker(options.host, options.port, options.path, options.rate, options.fresh).run())


if __name__ == "__main__":
    main(sys.argv[1:])

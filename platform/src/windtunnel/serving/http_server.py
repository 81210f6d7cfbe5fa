"""The HTTP server: listens, keeps an eye on its connections, and ends in peace."""

from __future__ import annotations

import asyncio
import heapq
import resource
import time
from email.utils import formatdate
from typing import TYPE_CHECKING, Final

from windtunnel.serving.http_body import Held, Limits
from windtunnel.serving.http_connection import Connection

if TYPE_CHECKING:
    from windtunnel.serving.http_messages import Application

_LOOK_SECONDS: Final = 1.0
_ENDED_TOGETHER: Final = 32
"""Connections that make room at a time: it takes a while to find them."""
_OTHER_FILES: Final = 128
"""That the process may have open beside its connections."""


class HttpServer:
    """Answers on one port, in the running event loop, from `start` to `close`."""

    def __init__(self, application: Application, limits: Limits | None = None) -> None:
        self.application = application
        self.limits = limits or Limits()
        self.draining = False
        self.connections: set[Connection] = set()
        self.held = Held()
        self.date = _date()
        self._most = min(
            self.limits.connections, _files(self.limits.connections + _OTHER_FILES) - _OTHER_FILES
        )
        self._server: asyncio.Server
        self._looking: asyncio.Task[None]

    async def start(self, host: str, port: int) -> int:
        """Returns the port, where 0 asks for any. Raises OSError when the address is taken or is none."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Connection(self), host, port, backlog=1024)
        self._looking = asyncio.create_task(self._look())
        listening: int = self._server.sockets[0].getsockname()[1]
        return listening

    def make_room(self) -> bool:
        """Whether one more connection fits in. Where there are too many, those end that have been without a
        request for longest, or wait for one that does not come."""
        if len(self.connections) < self._most:
            return True
        free = [one for one in self.connections if not one.answering]
        for connection in heapq.nsmallest(_ENDED_TOGETHER, free, key=lambda one: one.rank):
            self.connections.discard(connection)
            connection.end()
        return bool(free)

    async def close(self, patience_seconds: float) -> None:
        """Take no more connections, and end when the requests that are under way are answered."""
        self._server.close()
        deadline = time.monotonic() + patience_seconds
        while time.monotonic() < deadline and any(one.busy for one in self.connections):
            await asyncio.sleep(0.02)
        self._looking.cancel()
        for connection in tuple(self.connections):
            connection.close()

    async def _look(self) -> None:
        loop = asyncio.get_running_loop()
        pause = min(_LOOK_SECONDS, self.limits.request_seconds / 4)
        while True:
            await asyncio.sleep(pause)
            self.date = _date()
            for connection in tuple(self.connections):
                connection.look(loop.time())


def _date() -> str:
    return f"date: {formatdate(usegmt=True)}\r\n"


def _files(wanted: int) -> int:
    """How many files the process may open from now on; so many if it may be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = max(soft, min(wanted, hard))
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return allowed

"""One TCP (or TLS) connection that speaks Redis' protocol, from its first byte to its last."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import deque
from typing import TYPE_CHECKING, Any, Final, Self, cast

import hiredis

from windtunnel.errors import DataError, StoreError, WindtunnelError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from windtunnel.features.online.redis_address import RedisAddress

WHERE: Final = "online store"
ADVICE: Final = "try again, or send the feature vector"
_PASSWORD: Final = "set WINDTUNNEL_ONLINE_STORE_PASSWORD to its password"
_REFUSALS: Final = {
    "NOAUTH": ("the online store wants a password", _PASSWORD),
    "WRONGPASS": ("the online store refused the password", _PASSWORD),
    "NOPERM": ("this user may not read the online store", "allow it HMGET on all keys"),
    "LOADING": ("the online store is still loading its data", "try again in a moment"),
    "MASTERDOWN": ("the online store has lost its primary", "try again in a moment"),
    "BUSY": ("the online store is busy with a script", "try again in a moment"),
    "MOVED": ("the online store is a cluster", "name one that is not in cluster mode"),
    "CLUSTERDOWN": ("the online store is a cluster", "name one that is not in cluster mode"),
}
"""First word of an error → what it means, how to mend it."""
_GRACE: Final = 0.02
"""Seconds between seeing that an answer is late and giving it up: if it was this process that was late, the
answer has come already and only waits to be read."""
_KEEPALIVE: Final = {"TCP_KEEPIDLE": 20, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}
"""Finds a peer that went away without a word, before a read has to."""


class ConnectionLost(StoreError):
    """The connection ended before the answer came; another may give it."""


class _Request:
    """Commands that were sent together, and their answers until all are there."""

    __slots__ = ("answers", "count", "deadline", "future")

    def __init__(self, count: int, deadline: float, future: asyncio.Future[list[Any]]) -> None:
        self.count = count
        self.deadline = deadline
        self.future = future
        self.answers: list[Any] = []


class RedisLink(asyncio.Protocol):
    """`open` makes one; `lost` is called once when it ends, before those that wait hear of it."""

    def __init__(self, timeout: float, lost: Callable[[RedisLink], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._timeout = timeout
        self._lost = lost
        self._reader = hiredis.Reader()
        self._waiting: deque[_Request] = deque()
        self._late: _Request | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._reason: StoreError | None = None

    @classmethod
    async def open(cls, address: RedisAddress, timeout: float, lost: Callable[[RedisLink], None]) -> Self:
        """Connect and log in. Raises StoreError and OSError; bounded by its caller."""
        _, link = await asyncio.get_running_loop().create_connection(
            lambda: cls(timeout, lost), address.host, address.port, ssl=address.tls
        )
        commands = address.login()
        try:
            if commands:
                _check_login(await link.send(b"".join(map(_encode, commands)), len(commands)))
            if link._reason is not None:
                raise _copy(link._reason)
        except BaseException:
            link._transport.abort()
            raise
        return link

    def send(self, commands: bytes, count: int) -> asyncio.Future[list[Any]]:
        """The answers to come, errors among them. Fails with StoreError."""
        future: asyncio.Future[list[Any]] = self._loop.create_future()
        if self._reason is not None:
            future.set_exception(_copy(self._reason))
            return future
        # First: what could not be sent must not wait for an answer, it would take another's.
        self._transport.write(commands)
        self._waiting.append(_Request(count, self._loop.time() + self._timeout, future))
        if self._timer is None:
            self._timer = self._loop.call_later(self._timeout, self._check)
        return future

    async def close(self) -> None:
        """End in peace; what waits fails."""
        self._end(StoreError("the connection was closed", where=WHERE, fix="open another"))
        self._transport.close()
        await asyncio.wait({self._ended}, timeout=self._timeout)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        _keep_alive(transport.get_extra_info("socket"))

    def data_received(self, data: bytes) -> None:
        waiting = self._waiting
        try:
            self._reader.feed(data)
            gets = self._reader.gets
            while waiting:
                request = waiting[0]
                answers = request.answers
                while len(answers) < request.count:
                    answer = gets()
                    if answer is False:
                        return
                    answers.append(answer)
                waiting.popleft()
                # Whoever asked may have given up; the answer was still theirs.
                if not request.future.done():
                    request.future.set_result(answers)
            if gets() is not False or self._reader.has_data():
                self._drop("it said something that nobody asked for")
        except hiredis.ProtocolError:
            self._drop("what answers there does not speak Redis' protocol")

    def connection_lost(self, exc: Exception | None) -> None:
        reason = f"it ended the connection{f' ({exc})' if exc else ''}"
        self._end(ConnectionLost(f"the online store did not answer: {reason}", where=WHERE, fix=ADVICE))
        if not self._ended.done():
            self._ended.set_result(None)

    def _check(self) -> None:
        """The timer's: all requests have the same time, so the first one is the first to be late."""
        self._timer = None
        if not self._waiting or self._reason is not None:
            return
        first = self._waiting[0]
        left = first.deadline - self._loop.time()
        if left > 0:
            self._late = None
        elif self._late is first:
            self._drop(f"nothing within {self._timeout:.1f} s")
            return
        else:
            self._late = first
        self._timer = self._loop.call_later(max(left, _GRACE), self._check)

    def _drop(self, reason: str) -> None:
        self._end(StoreError(f"the online store did not answer: {reason}", where=WHERE, fix=ADVICE))
        self._transport.abort()

    def _end(self, reason: StoreError) -> None:
        """Only the first reason counts."""
        if self._reason is not None:
            return
        self._reason = reason
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._lost(self)
        while self._waiting:
            future = self._waiting.popleft().future
            if not future.done():
                future.set_exception(_copy(reason))


def refused(answers: Sequence[Any]) -> WindtunnelError | None:
    """The error among the answers to reads, if there is one."""
    for answer in answers:
        if isinstance(answer, hiredis.ReplyError):
            return _refusal(str(answer))
    return None


def _refusal(message: str) -> WindtunnelError:
    code = message.partition(" ")[0]
    if code == "WRONGTYPE":
        return DataError(
            "an entity's key holds something else than a hash",
            where=WHERE,
            fix="give Feast's features a database of their own",
        )
    what, fix = _REFUSALS.get(code, (f"the online store refused: {message[:200]}", ADVICE))
    return StoreError(what, where=WHERE, fix=fix)


def _check_login(answers: Sequence[Any]) -> None:
    for answer in answers:
        if isinstance(answer, hiredis.ReplyError):
            # Never its text: a server that does not know AUTH says what it was called with.
            code = str(answer).partition(" ")[0]
            what, fix = _REFUSALS.get(
                code, (f"the online store refused the login ({code})", "check its password and database")
            )
            raise StoreError(what, where=WHERE, fix=fix)


def _encode(command: Sequence[bytes]) -> bytes:
    return b"*%d\r\n" % len(command) + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in command)


def _copy(error: StoreError) -> StoreError:
    """One for each that waits: an exception that is raised twice shows the tracebacks of both."""
    return type(error)(error.what, where=error.where, fix=error.fix)


def _keep_alive(transport_socket: Any) -> None:
    # Not every platform has every option.
    with contextlib.suppress(OSError, AttributeError):
        transport_socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEPALIVE.items():
            transport_socket.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)

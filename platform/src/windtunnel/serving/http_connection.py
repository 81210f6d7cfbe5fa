"""One HTTP/1.1 connection: llhttp (httptools) reads its requests. They are answered in order: at once, or by
a task where an answer or the caller has to be waited for.

Nothing that a caller sends, or leaves unsent, holds more than the limits allow: a body too large, a head too
large or a request too slow is refused and the connection ended, an answer that nobody reads is dropped.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, Final, Protocol, cast

import httptools

from windtunnel.serving.http_body import Body, HttpError
from windtunnel.serving.http_messages import Answer, Request, encode_head, read_path

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from windtunnel.serving.http_body import Held, Limits
    from windtunnel.serving.http_messages import Application

log = logging.getLogger(__name__)

CALLER_GONE: Final = 499
"""Not sent, only counted: the caller hung up before the answer. It says nothing of the model."""
_PIPELINED: Final = 16
"""Requests read ahead of the one that is answered, before the caller has to wait."""
_PIECE: Final = 16 * 1024
"""Bytes that are parsed at a time: small requests come by the thousand, and grow when parsed."""
_LINGER: Final = 2.0
"""Seconds that a caller gets to read the last answer and hang up; what it still sends is dropped. Closing at
once, with bytes unread, would take the answer from it."""


class Shared(Protocol):
    """What all connections of a server have in common."""

    application: Application
    limits: Limits
    draining: bool
    """Each answer is the last of its connection."""
    date: str
    """The header, with its line end."""
    connections: set[Connection]
    held: Held

    def make_room(self) -> bool:
        """Whether there is room for one more connection, if need be in the place of another."""


_Pending = tuple[Request, bool, "Awaitable[Answer]"]
"""A request, whether it ends the connection, and its answer to come."""


class Connection(asyncio.Protocol):
    """Made by the server for each caller."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: deque[tuple[Request, bool]] = deque()
        """Requests to answer, and whether that ends the connection."""
        self._ahead = 0
        """Bytes of their bodies."""
        self._answering: asyncio.Task[None] | None = None
        """Answers what could not be answered at once, and all that waits behind it."""
        self._writable: asyncio.Future[None] | None = None
        """What it waits for when the caller does not read."""
        self._paused = False
        """Nothing is read, for too much waits."""
        self._unread = b""
        """What had come by then."""
        self._read_to_end = False
        """No further request is taken."""
        self._hung_up = False
        """The caller sends no more."""
        self._gone = False
        self._begun: float | None = None
        """When the request that is being read began."""
        self._since = self._loop.time()
        """When the connection last became idle, unwritable, or was ended."""
        self._begin()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        room = self._shared.make_room()
        self._shared.connections.add(self)
        if not room:
            self._refuse(HttpError(503, "there are too many connections", "try again", ("retry-after", "1")))
            self._answer()

    def connection_lost(self, _: Exception | None) -> None:
        self._gone = True
        self._shared.connections.discard(self)
        self._forget()
        self._keep_unread(b"")
        if self._begun is not None and self._head_read:
            self._take(self._request(HttpError(CALLER_GONE, "the caller has gone")), last=True)
        self._body.drop()
        self._wake_writer()
        self._answer()

    def eof_received(self) -> bool:
        """Returns whether the caller, who sends no more, still gets an answer."""
        self._hung_up = self._read_to_end = True
        return self.answering

    def data_received(self, data: bytes) -> None:
        self._read_all(data)
        self._answer()

    def _read_all(self, data: bytes) -> None:
        for at in range(0, len(data), _PIECE):
            if self._read_to_end:
                return
            if self._paused:
                self._keep_unread(data[at:])
                return
            self._read_piece(data[at : at + _PIECE])

    def _read_piece(self, data: bytes) -> None:
        self._bare += len(data)
        try:
            while data and not self._read_to_end:
                data = self._read(data)
        except httptools.HttpParserError as error:
            # after the last request anything may come
            if not self._read_to_end:
                self._refuse(HttpError(400, f"this is no HTTP/1.1: {error}"))
        if self._begun is not None and self._bare > self._shared.limits.head:
            self._refuse(HttpError(431, "the headers are too large", "send fewer"))

    def _keep_unread(self, data: bytes) -> None:
        self._shared.held.bytes += len(data) - len(self._unread)
        self._unread = data
        if data and self._shared.held.bytes > self._shared.limits.held:
            # who sends ahead that much is the first to go
            self._transport.abort()

    def _read(self, data: bytes) -> bytes:
        """What is left to read. Raises HttpParserError."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            # Many a client would like another protocol, and takes HTTP/1.1 as well. llhttp then reads no
            # body, so it is given the same request without that wish.
            if self._has_too_many_headers:
                # one of those that were not kept may say where the request ends
                self._refuse(_too_many_headers())
                return b""
            head = self._head_without_upgrade()
            self._parser = httptools.HttpRequestParser(self)
            return head + data[upgrade.args[0] :]
        return b""

    def _head_without_upgrade(self) -> bytes:
        method, version = self._parser.get_method(), self._parser.get_http_version()
        if method == b"CONNECT":
            raise httptools.HttpParserError("this is no proxy")
        headers = {name: value for name, value in self._headers.items() if name != "upgrade"}
        wishes = headers.get("connection", "").split(",")
        headers["connection"] = ",".join(wish for wish in wishes if wish.strip().lower() != "upgrade")
        fields = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return b"%b %b HTTP/%b\r\n%b\r\n" % (
            method, self._url, version.encode(), fields.encode("latin-1"),
        )  # fmt: skip

    def pause_writing(self) -> None:
        self._since = self._loop.time()
        self._writable = self._loop.create_future()

    def resume_writing(self) -> None:
        self._wake_writer()
        self._writable = None

    def _begin(self) -> None:
        self._url = b""
        self._headers: dict[str, str] = {}
        self._body = Body(self._shared.limits, self._shared.held)
        self._bare = 0
        """Bytes that came without any of the body: of the head, of trailers, of a chunk's extensions."""
        self._head_read = False

    @property
    def _has_too_many_headers(self) -> bool:
        return len(self._headers) > self._shared.limits.headers

    # what llhttp calls

    def on_message_begin(self) -> None:
        self._begin()
        self._begun = self._loop.time()

    def on_url(self, part: bytes) -> None:
        self._url += part

    def on_header(self, name: bytes, value: bytes) -> None:
        # One more than allowed is kept, to tell by; what comes behind the body has nothing to say.
        if self._has_too_many_headers or self._head_read:
            return
        key, said = name.decode("latin-1").lower(), value.decode("latin-1")
        self._headers[key] = f"{self._headers[key]}, {said}" if key in self._headers else said

    def on_headers_complete(self) -> None:
        self._head_read = True
        if self._headers.get("expect", "").lower() != "100-continue":
            return
        # HTTP/1.0 would take it for the answer; who wants another protocol is read once more
        if self._parser.get_http_version() != "1.0" and not self._parser.should_upgrade():
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, chunk: bytes) -> None:
        body = self._body
        body.add(chunk)
        self._bare = 0
        if body.problem is not None and body.size > self._shared.limits.dropped and not self._read_to_end:
            self._refuse(body.problem)

    def on_message_complete(self) -> None:
        if self._read_to_end or self._parser.should_upgrade():
            return
        problem = self._body.problem
        if problem is None and self._has_too_many_headers:
            problem = _too_many_headers()
        self._take(self._request(problem), last=not self._parser.should_keep_alive())

    # requests

    def _request(self, problem: HttpError | None) -> Request:
        method = self._parser.get_method().decode("latin-1")
        if problem is not None:
            self._body.drop()
        return Request(method, read_path(self._url), self._headers, self._body.take(), problem)

    def _refuse(self, problem: HttpError) -> None:
        """Answer what was not read to its end, and end."""
        whole = self._head_read
        self._take(self._request(problem) if whole else Request("", "", {}, b"", problem), last=True)

    def _take(self, request: Request, *, last: bool) -> None:
        self._begun = None
        self._read_to_end = last
        self._waiting.append((request, last))
        self._ahead += len(request.body)
        if (len(self._waiting) > _PIPELINED or self._ahead > self._shared.limits.body) and not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def _done_with(self, request: Request) -> None:
        self._ahead -= len(request.body)
        self._shared.held.bytes -= len(request.body)

    def _forget(self) -> None:
        """Answer none of those that wait."""
        while self._waiting:
            self._done_with(self._waiting.popleft()[0])

    def _wake_writer(self) -> None:
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)

    # answers

    def _answer(self) -> None:
        """Answer what waits. Mostly that is one request that is answered at once: it needs no task."""
        if self._answering is not None or not self._waiting:
            return
        try:
            pending = self._next()
        except Exception:
            self._give_up()
            return
        if pending is not None or self._waiting or self._paused or self._writable is not None:
            self._answering = self._loop.create_task(self._answer_all(pending))
        else:
            self._since = self._loop.time()

    async def _answer_all(self, pending: _Pending | None) -> None:
        """Answer `pending`, and then what waits, until nothing does."""
        try:
            while True:
                if pending is not None:
                    request, last, answering = pending
                    try:
                        answer = await answering
                    finally:
                        self._done_with(request)
                    self._send(request, last, answer)
                if self._writable is not None:
                    await self._writable
                if self._waiting:
                    # who sends many at once does not keep the others waiting
                    await asyncio.sleep(0)
                elif self._paused and not self._gone:
                    self._read_on()
                if not self._waiting:
                    return
                pending = self._next()
        except Exception:
            self._give_up()
        finally:
            self._answering = None
            self._since = self._loop.time()

    def _next(self) -> _Pending | None:
        """Take the next request and answer it, or return it where its answer has to be waited for."""
        request, last = self._waiting.popleft()
        try:
            answer = self._shared.application.answer(request)
        except Exception:
            self._done_with(request)
            raise
        if not isinstance(answer, Answer):
            return request, last, answer
        self._done_with(request)
        self._send(request, last, answer)
        return None

    def _send(self, request: Request, last: bool, answer: Answer) -> None:
        if not self._gone:
            hung_up = self._hung_up and not self._waiting
            self._write(request.method, answer, last or hung_up or self._shared.draining)

    def _give_up(self) -> None:
        log.exception("a connection is given up")
        self._transport.abort()

    def _read_on(self) -> None:
        self._paused = False
        self._transport.resume_reading()
        if self._begun is not None:
            # it was not the caller who took that long
            self._begun = self._loop.time()
        unread = self._unread
        self._keep_unread(b"")
        self._read_all(unread)

    def _write(self, method: str, answer: Answer, last: bool) -> None:
        head = encode_head(answer, self._shared.date, last)
        self._transport.write(head if method == "HEAD" else head + answer.body)
        if last:
            self._forget()
            self._keep_unread(b"")
            self._read_to_end = True
            # what was half read is not answered any more
            self._begun = None
            self._body.drop()
            if self._hung_up:
                self._transport.close()
            else:
                self._transport.write_eof()

    # the server's

    @property
    def answering(self) -> bool:
        """A request is answered or waits for it."""
        return self._answering is not None or bool(self._waiting)

    @property
    def busy(self) -> bool:
        """It has a request that is read or answered."""
        return self._begun is not None or self.answering

    @property
    def rank(self) -> tuple[bool, float]:
        """Who has to make room first: those without a request, then those whose request takes longest to
        come."""
        return self._begun is not None, self._since if self._begun is None else self._begun

    def look(self, now: float) -> None:
        """End what takes too long; called each second."""
        limits = self._shared.limits
        if self._writable is not None:
            if now - self._since > limits.request_seconds:
                self._transport.abort()
        elif self._begun is not None and not self._paused:
            if now - self._begun > limits.request_seconds:
                late = f"the request did not come within {limits.request_seconds:.0f} s"
                self._refuse(HttpError(408, late, "send it at once"))
                self._answer()
        elif not self.answering:
            if self._transport.get_write_buffer_size():
                patience = limits.request_seconds
            else:
                patience = _LINGER if self._read_to_end else limits.idle_seconds
            if now - self._since > patience:
                self.end()

    def end(self) -> None:
        """At once; what the caller has not read by now is lost."""
        if self._transport.get_write_buffer_size():
            # closing would wait for the caller to read it, for ever
            self._transport.abort()
        else:
            self._transport.close()

    def close(self) -> None:
        """As soon as what was written is sent."""
        self._transport.close()


def _too_many_headers() -> HttpError:
    return HttpError(431, "there are too many headers", "send fewer")

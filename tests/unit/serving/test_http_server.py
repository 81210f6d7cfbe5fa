"""HTTP on real sockets, against what well-behaved, odd and hostile callers do."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from waiting import HANG

from windtunnel.serving.http_body import HttpError, Limits
from windtunnel.serving.http_connection import CALLER_GONE
from windtunnel.serving.http_messages import Answer, Request
from windtunnel.serving.http_server import HttpServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine

POST = b"POST /echo HTTP/1.1\r\nHost: x\r\n"
LIMITS = Limits(body=1000, dropped=5000, head=2000, headers=10)


class Echo:
    """Answers with what it was asked; a path `/wait` holds the answer back until `released`."""

    at_once = False
    """Where it can."""

    def __init__(self) -> None:
        self.seen: list[Request] = []
        self.released = asyncio.Event()

    def answer(self, request: Request) -> Answer | Awaitable[Answer]:
        self.seen.append(request)
        if self.at_once and request.path != "/wait":
            return self._echo(request)
        return self._answer_later(request)

    async def _answer_later(self, request: Request) -> Answer:
        if request.path == "/wait" and request.problem is None:
            await self.released.wait()
        return self._echo(request)

    @staticmethod
    def _echo(request: Request) -> Answer:
        if request.problem is not None:
            return Answer(request.problem.status, request.problem.headers, str(request.problem).encode())
        if request.path == "/large":
            return Answer(200, [], b"x" * 50_000_000)
        if request.path == "/broken":
            raise ValueError
        said = json.dumps([request.method, request.path, request.body.decode()]).encode()
        return Answer(200, [("content-type", "application/json")], said)


@pytest.fixture(autouse=True, params=[True, False], ids=["at once", "later"])
def answering(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether an answer has to be waited for is nothing that callers see."""
    monkeypatch.setattr(Echo, "at_once", request.param)


class Caller:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def answer(self, *, body: bool = True) -> tuple[int, dict[str, str], bytes]:
        lines = (await self._reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines[1:-2])
        content = await self._reader.readexactly(int(headers["content-length"])) if body else b""
        return int(lines[0].split(" ")[1]), headers, content

    async def line(self) -> bytes:
        return await self._reader.readuntil(b"\r\n\r\n")

    async def rest(self) -> bytes:
        """Until the server closes."""
        return await self._reader.read()


class World:
    def __init__(self, server: HttpServer, echo: Echo, port: int) -> None:
        self.server = server
        self.echo = echo
        self._port = port
        self._callers: list[Caller] = []

    async def call(self) -> Caller:
        self._callers.append(Caller(*await asyncio.open_connection("127.0.0.1", self._port)))
        return self._callers[-1]

    def hang_up(self) -> None:
        for caller in self._callers:
            caller.writer.close()


@asynccontextmanager
async def world(limits: Limits = LIMITS) -> AsyncIterator[World]:
    echo = Echo()
    server = HttpServer(echo, limits)
    port = await server.start("127.0.0.1", 0)
    here = World(server, echo, port)
    try:
        yield here
    finally:
        here.hang_up()
        await server.close(5)


async def until(good: Callable[[], bool]) -> None:
    while not good():
        await asyncio.sleep(0.005)


def run(test: Coroutine[None, None, None]) -> None:
    asyncio.run(asyncio.wait_for(test, HANG))


def with_body(body: bytes, *, path: bytes = b"/echo", headers: bytes = b"") -> bytes:
    return b"POST %b HTTP/1.1\r\nHost: x\r\n%bContent-Length: %d\r\n\r\n%b" % (path, headers, len(body), body)


def test_a_connection_is_kept_and_answers_in_order() -> None:
    async def test() -> None:
        async with world() as here:
            caller = await here.call()
            for number in range(3):
                caller.send(with_body(b"%d" % number))
                status, headers, said = await caller.answer()
                assert (status, json.loads(said)[2]) == (200, str(number))
                assert headers["connection"] == "keep-alive"
                assert headers["date"].endswith("GMT")

    run(test())


def test_requests_sent_at_once_are_all_answered_in_order() -> None:
    async def test() -> None:
        async with world() as here:
            caller = await here.call()
            caller.send(b"".join(with_body(b"%d" % number) for number in range(300)))
            for number in range(300):
                assert json.loads((await caller.answer())[2])[2] == str(number)

    run(test())


def test_a_request_may_come_byte_by_byte() -> None:
    async def test() -> None:
        async with world() as here:
            caller = await here.call()
            for byte in with_body(b"slow", headers=b"X-A: b\r\n"):
                caller.send(bytes([byte]))
                await asyncio.sleep(0)
            assert json.loads((await caller.answer())[2]) == ["POST", "/echo", "slow"]
            assert here.echo.seen[0].headers["x-a"] == "b"

    run(test())


def test_chunked_bodies_and_permission_to_continue() -> None:
    async def test() -> None:
        async with world() as here:
            caller = await here.call()
            caller.send(POST + b"Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n")
            assert await caller.line() == b"HTTP/1.1 100 Continue\r\n\r\n"
            caller.send(b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
            assert json.loads((await caller.answer())[2])[2] == "abcde"

    run(test())


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (b"/a%20b/%C3%BC?x=/y", "/a b/ü"),
        (b"http://host:1/v2/x?y", "/v2/x"),
        (b"*", "*"),
        (b"/%ff%00", "/\ufffd\0"),
    ],
)
def test_paths(target: bytes, path: str) -> None:
    async def test() -> None:
        async with world() as here:
            caller = await here.call()
            caller.send(b"OPTIONS %b HTTP/1.1\r\nHost: x\r\n\r\n" % target)
            await caller.answer()
            assert here.echo.seen[0].path == path

    run(test())


@pytest.mark.parametrize("body", [b"", b"some"])
def test_who_wants_http2_is_answered_in_http1(body: bytes) -> None:
    async def test() -> None:
        async with world() as here:
            caller = await here.call()
            upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
            for _ in range(2):
                caller.send(with_body(body, headers=upgrade) * 2)
                for _ in range(2):
                    assert json.loads((await caller.answer())[2])[2] == body.decode()

    run(test())


def test_of_a_wish_for_http2_with_too_many_headers_no_byte_is_another_request() -> None:
    """The header that is over the limit may be the one that says how long the body is."""

    async def test() -> None:
        async with world() as here:
            caller = await here.call()
            headers = [b"Connection: Upgrade", b"Upgrade: h2c", *(b"X-%d: 1" % at for at in range(9))]
            hidden = b"GET /hidden HTTP/1.1\r\nHost: x\r\n\r\n"
            caller.send(with_body(hidden, headers=b"".join(b"%b\r\n" % header for header in headers)))
            assert (await caller.answer())[0] == 431
            assert await caller.rest() == b""
            assert "/hidden" not in [request.path for request in here.echo.seen]

    run(test())


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: close, Upgrade\r\nUpgrade: h2c\r\n\r\n",
        b"GET /a HTTP/1.0\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
    ],
)
def test_who_wants_http2_has_its_other_wishes_granted(request_: bytes) -> None:
    async def test() -> None:
        async with world() as here:
            caller = await here.call()
            caller.send(request_)
            status, headers, _ = await caller.answer()
            assert (status, headers["connection"]) == (200, "close")
            assert await caller.rest() == b""

    run(test())


@pytest.mark.parametrize(
    ("version", "headers", "told"),
    [(b"1.1", b"", 1), (b"1.1", b"Connection: Upgrade\r\nUpgrade: h2c\r\n", 1), (b"1.0", b"", 0)],
)
def test_permission_to_continue_is_given_once_and_to_who_knows_it(
    version: bytes, headers: bytes, told: int
) -> None:
    async def test() -> None:
        async with world() as here:
            caller = await here.call()
            asked = with_body(b"some", headers=headers + b"Expect: 100-continue\r\nConnection: close\r\n")
            caller.send(asked.replace(b"HTTP/1.1", b"HTTP/" + version))
            said = await caller.rest()
            assert (said.count(b"100 Continue"), said.count(b" 200 OK")) == (told, 1)

    run(test())


def test_head_has_no_body() -> None:
    async def test() -> None:
        async with world() as here:
            caller = await here.call()
            caller.send(b"HEAD /a HTTP/1.1\r\nHost: x\r\n\r\n" * 2)
            for _ in range(2):
                status, headers, _ = await caller.answer(body=False)
                assert (status, int(headers["content-length"]) > 0) == (200, True)

    run(test())


@pytest.mark.parametrize(
    "request_", [b"GET /a HTTP/1.0\r\n\r\n", b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"]
)
def test_the_connection_ends_when_the_caller_wants_it(request_: bytes) -> None:
    async def test() -> None:
        async with world() as here:
            caller = await here.call()
            caller.send(request_ + b"GET /never HTTP/1.1\r\nHost: x\r\n\r\n")
            status, headers, _ = await caller.answer()
            assert (status, headers["connection"]) == (200, "close")
            assert await caller.rest() == b""
            assert [request.path for request in here.echo.seen] == ["/a"]

    run(test())


def test_http_1_0_may_keep_its_connection() -> None:
    async def test() -> None:
        async with world() as here:
            caller = await here.call()
            for _ in range(2):
                caller.send(b"GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
                assert (await caller.answer())[1]["connection"] == "keep-alive"

    run(test())


def test_who_closes_its_side_is_still_answered() -> None:
    async def test() -> None:
        async with world() as here:
            caller = await here.call()
            caller.send(with_body(b"a", path=b"/wait") + with_body(b"b"))
            caller.writer.write_eof()
            while not here.echo.seen:
                await asyncio.sleep(0.001)
            here.echo.released.set()
            assert json.loads((await caller.answer())[2])[2] == "a"
            assert json.loads((await caller.answer())[2])[2] == "b"
            assert await caller.rest() == b""

    run(test())


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"hello\r\n\r\n",
        b"GET / HTTP/3.0\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        POST + b"Content-Length: -1\r\n\r\n",
        POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
        POST + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        POST + b"A b: c\r\n\r\n",
        b"CONNECT host:1 HTTP/1.1\r\nHost: host:1\r\n\r\n",
    ],
)
def test_what_is_no_http_is_refused(sent: bytes) -> None:
    async def test() -> None:
        async with world() as here:
            caller = await here.call()
            caller.send(with_body(b"good"))
            caller.send(sent)
            assert (await caller.answer())[0] == 200
            status, headers, said = await caller.answer()
            assert (status, headers["connection"]) == (400, "close")
            assert b"no HTTP/1.1" in said
            assert await caller.rest() == b""

    run(test())


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_too_large_is_refused_when_it_has_been_sent(chunked: bool) -> None:
    async def test() -> None:
        async with world() as here:
            caller = await here.call()
            body = b"x" * 1001
            framed = b"Transfer-Encoding: chunked\r\n\r\n3E9\r\n%b\r\n0\r\n\r\n" % body
            caller.send(POST + framed if chunked else with_body(body))
            assert (await caller.answer())[0] == 413
            caller.send(with_body(b"small"))
            assert (await caller.answer())[0] == 200

    run(test())


def test_what_all_callers_together_may_leave_here_is_bounded() -> None:
    """Bodies that nobody ends, one that waits for its answer; who asks for little is still answered."""

    async def test() -> None:
        limits = Limits(body=1000, head=2000, held=2500, small=100)
        async with world(limits) as here:
            hoarders = [await here.call() for _ in range(2)]
            for hoarder in hoarders:
                hoarder.send(POST + b"Content-Length: 1000\r\n\r\n" + b"x" * 999)
            waiting = await here.call()
            waiting.send(with_body(b"y" * 400, path=b"/wait"))
            await until(lambda: here.server.held.bytes == 2 * 999 + 400)
            late = await here.call()
            late.send(with_body(b"z" * 900))
            status, headers, said = await late.answer()
            assert (status, headers["retry-after"]) == (429, "1")
            assert b"too much at once" in said
            late.send(with_body(b"small"))
            assert (await late.answer())[0] == 200
            hoarders[0].send(b"x")
            assert (await hoarders[0].answer())[0] == 200
            hoarders[1].writer.transport.abort()
            here.echo.released.set()
            assert (await waiting.answer())[0] == 200
            await until(lambda: here.server.held.bytes == 0)
            late.send(with_body(b"z" * 900))
            assert (await late.answer())[0] == 200

    run(test())


def test_a_caller_that_sends_ahead_is_read_no_further_than_one_body() -> None:
    async def test() -> None:
        async with world(Limits(body=300_000, held=10**9)) as here:
            caller = await here.call()
            caller.send(with_body(b"", path=b"/wait"))
            caller.send(with_body(b"x" * 300_000) * 100)
            await asyncio.sleep(0.2)
            assert here.server.held.bytes < 2_000_000
            here.echo.released.set()
            for _ in range(101):
                assert (await caller.answer())[0] == 200
            assert here.server.held.bytes == 0

    run(test())


def test_nothing_of_a_refused_request_is_kept() -> None:
    async def test() -> None:
        async with world() as here:
            caller = await here.call()
            caller.send(POST + b"Content-Length: 900\r\n\r\n" + b"x" * 800)
            await until(lambda: here.server.held.bytes == 800)
            caller.writer.transport.abort()
            await until(lambda: bool(here.echo.seen))
            assert here.echo.seen[0].body == b""
            assert here.server.held.bytes == 0

    run(test())


def test_a_header_that_comes_twice_is_a_list_and_trailers_are_none() -> None:
    async def test() -> None:
        async with world() as here:
            caller = await here.call()
            twice = b"X-Length: 1\r\nX-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n"
            caller.send(POST + twice + b"1\r\na\r\n0\r\nX-Other: 3\r\n\r\n")
            assert (await caller.answer())[0] == 200
            headers = here.echo.seen[0].headers
            assert headers["x-length"] == "1, 2"
            assert "x-other" not in headers

    run(test())


def test_a_body_without_end_is_not_read_to_its_end() -> None:
    async def test() -> None:
        async with world() as here:
            caller = await here.call()
            caller.send(POST + b"Content-Length: 1000000000\r\n\r\n" + b"x" * 6000)
            status, headers, _ = await caller.answer()
            assert (status, headers["connection"]) == (413, "close")
            assert await caller.rest() == b""

    run(test())


@pytest.mark.parametrize(
    "head",
    [
        b"".join(b"A%d: b\r\n" % number for number in range(20)) + b"\r\n",
        b"A: " + b"b" * 10_000,
        b"A" * 10_000,
    ],
)
def test_heads_too_large_are_refused(head: bytes) -> None:
    async def test() -> None:
        async with world() as here:
            caller = await here.call()
            caller.send(POST)
            for start in range(0, len(head), 1000):
                caller.send(head[start : start + 1000])
                await asyncio.sleep(0.01)
            assert (await caller.answer())[0] == 431

    run(test())


@pytest.mark.parametrize("dripping", [b"", b"POST", POST + b"A: b", POST + b"Content-Length: 9\r\n\r\nx"])
def test_who_does_not_come_to_an_end_is_let_go(dripping: bytes) -> None:
    async def test() -> None:
        async with world(Limits(request_seconds=0.2, idle_seconds=0.2)) as here:
            caller = await here.call()
            caller.send(dripping)
            said = await caller.rest()
            assert said.startswith(b"HTTP/1.1 408") if dripping else said == b""
            caller.writer.close()
            while here.server.connections:
                await asyncio.sleep(0.01)

    run(test())


def test_a_caller_that_does_not_read_is_let_go() -> None:
    async def test() -> None:
        async with world(Limits(request_seconds=0.2)) as here:
            caller = await here.call()
            caller.send(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n" * 20)
            while not here.echo.seen or here.server.connections:
                await asyncio.sleep(0.01)
            assert len(here.echo.seen) == 1

    run(test())


def test_a_caller_that_hangs_up_is_counted() -> None:
    async def test() -> None:
        async with world() as here:
            caller = await here.call()
            caller.send(POST + b"Content-Length: 99\r\n\r\n{")
            caller.writer.close()
            while not here.echo.seen:
                await asyncio.sleep(0.001)
            problem = here.echo.seen[0].problem
            assert isinstance(problem, HttpError)
            assert problem.status == CALLER_GONE

    run(test())


def test_an_application_that_raises_loses_one_connection_only() -> None:
    async def test() -> None:
        async with world() as here:
            caller, other = await here.call(), await here.call()
            caller.send(b"GET /broken HTTP/1.1\r\nHost: x\r\n\r\n")
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await caller.answer()
            other.send(with_body(b"x"))
            assert (await other.answer())[0] == 200

    run(test())


def test_draining_ends_connections_with_an_answer_and_waits_for_those_under_way() -> None:
    async def test() -> None:
        async with world() as here:
            idle, asked, late = await here.call(), await here.call(), await here.call()
            for caller in (idle, late):
                caller.send(with_body(b"x"))
                assert (await caller.answer())[1]["connection"] == "keep-alive"
            asked.send(with_body(b"y", path=b"/wait"))
            while len(here.echo.seen) < 3:
                await asyncio.sleep(0.001)
            here.server.draining = True
            late.send(with_body(b"z"))
            assert (await late.answer())[1]["connection"] == "close"
            closing = asyncio.create_task(here.server.close(5))
            await asyncio.sleep(0.05)
            assert not closing.done()
            here.echo.released.set()
            assert (await asked.answer())[1]["connection"] == "close"
            await closing
            assert await idle.rest() == b""

    run(test())


@pytest.mark.parametrize("endless", [b"0\r\nx: ", b"1;x="], ids=["trailer", "chunk extension"])
def test_what_surrounds_a_body_is_bounded_as_the_head_is(endless: bytes) -> None:
    async def test() -> None:
        async with world() as here:
            caller = await here.call()
            caller.send(POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n" + endless)
            for _ in range(6):
                caller.send(b"x" * 1000)
                await asyncio.sleep(0.01)
            assert (await caller.answer())[0] == 431

    run(test())


def test_no_more_small_requests_are_parsed_ahead_than_a_few() -> None:
    async def test() -> None:
        async with world(Limits()) as here:
            caller = await here.call()
            caller.send(b"GET /wait HTTP/1.1\r\n\r\n" + b"GET /a HTTP/1.1\r\n\r\n" * 10_000)
            await until(lambda: bool(here.echo.seen))
            await asyncio.sleep(0.05)
            (connection,) = here.server.connections
            assert len(connection._waiting) < 1000
            here.echo.released.set()
            for _ in range(10_001):
                assert (await caller.answer())[0] == 200
            assert here.server.held.bytes == 0

    run(test())


def test_callers_that_hoard_what_is_not_parsed_yet_are_the_first_to_go() -> None:
    async def test() -> None:
        async with world(Limits(held=100_000)) as here:
            callers = [await here.call() for _ in range(5)]
            for caller in callers:
                caller.send(b"GET /wait HTTP/1.1\r\n\r\n" + b"GET /a HTTP/1.1\r\n\r\n" * 20_000)
            await until(lambda: len(here.server.connections) < 5)
            other = await here.call()
            other.send(with_body(b"x"))
            assert (await other.answer())[0] == 200
            here.hang_up()
            await until(lambda: not here.server.connections)
            assert here.server.held.bytes == 0

    run(test())


def test_what_is_half_read_behind_the_last_answer_holds_nothing_up() -> None:
    async def test() -> None:
        async with world() as here:
            caller = await here.call()
            caller.send(with_body(b"", path=b"/wait") + POST + b"Content-Length: 9\r\n\r\n123")
            await until(lambda: bool(here.echo.seen))
            here.server.draining = True
            here.echo.released.set()
            assert (await caller.answer())[1]["connection"] == "close"
            (connection,) = here.server.connections
            assert not connection.busy
            assert here.server.held.bytes == 0

    run(test())


@pytest.mark.parametrize("last", [b"", b"Connection: close\r\n"], ids=["kept", "last"])
def test_the_end_of_an_answer_that_nobody_takes_is_dropped(last: bytes) -> None:
    """Less of it waits than makes the server wait."""

    async def test() -> None:
        async with world(Limits(request_seconds=0.2)) as here:
            caller = await here.call()
            await until(lambda: bool(here.server.connections))
            (connection,) = here.server.connections
            connection._transport.set_write_buffer_limits(high=100_000_000)
            caller.send(b"GET /large HTTP/1.1\r\n" + last + b"\r\n")
            await until(lambda: bool(here.echo.seen) and not here.server.connections)

    run(test())


def test_new_callers_find_room_in_the_place_of_those_who_ask_for_nothing() -> None:
    async def test() -> None:
        async with world(Limits(connections=4)) as here:
            asked = await here.call()
            asked.send(with_body(b"", path=b"/wait"))
            await until(lambda: bool(here.echo.seen))
            others = [await here.call() for _ in range(3)]
            others[0].send(POST)
            await until(lambda: any(one.busy and not one.answering for one in here.server.connections))
            late = await here.call()
            late.send(with_body(b"x"))
            assert (await late.answer())[0] == 200
            assert len(here.server.connections) <= 4
            here.echo.released.set()
            assert (await asked.answer())[0] == 200

    run(test())


def test_where_all_are_being_answered_one_more_is_refused() -> None:
    async def test() -> None:
        async with world(Limits(connections=2)) as here:
            callers = [await here.call() for _ in range(2)]
            for caller in callers:
                caller.send(with_body(b"", path=b"/wait"))
            await until(lambda: len(here.echo.seen) == 2)
            late = await here.call()
            status, headers, _ = await late.answer()
            assert (status, headers["connection"]) == (503, "close")
            here.echo.released.set()
            for caller in callers:
                assert (await caller.answer())[0] == 200

    run(test())

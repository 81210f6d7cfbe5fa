"""What is done to a connection that is no good HTTP, or good HTTP that comes badly.

Each case opens a connection of its own, and leaves when the server has answered or hung up. A case raises
Wrong for what the server must not do, TimeoutError when it hangs.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
from typing import TYPE_CHECKING, Final

from binary_request import binary_request, raw
from hostile_answers import Answer, Wrong, judge_refusal, read_answer
from hostile_bodies import PATH
from served_bundle import matrix_request

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable, Sequence

PATIENCE: Final = 10.0
"""Seconds after which a server that does not answer hangs."""
ROW = [0.1, 2.0, 0.3, 4.0, 0.5]
BODY = json.dumps(matrix_request(ROW)).encode()


class Caller:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, data: bytes) -> None:
        """Send it; that the server has hung up is for the answer to say."""
        with contextlib.suppress(ConnectionError):
            self.writer.write(data)
            await self.writer.drain()

    async def drip(self, data: bytes, parts: int, seconds: float) -> None:
        size = max(1, len(data) // parts)
        for at in range(0, len(data), size):
            await self.send(data[at : at + size])
            await asyncio.sleep(seconds / parts)

    def end(self) -> None:
        """Say that nothing more comes."""
        if self.writer.can_write_eof() and not self.writer.transport.is_closing():
            with contextlib.suppress(OSError):
                self.writer.write_eof()

    def reset(self) -> None:
        """Hang up at once, without good-bye."""
        linger = struct.pack("ii", 1, 0)
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.writer.transport.abort()

    async def answers(self) -> list[Answer]:
        """All that come until the server hangs up; none of them blames the server."""
        answers: list[Answer] = []
        while (answer := await read_answer(self.reader)) is not None:
            judge_refusal(answer)
            answers.append(answer)
        return answers

    async def statuses(self, count: int) -> list[int]:
        """Of so many answers."""
        statuses = []
        for _ in range(count):
            answer = await read_answer(self.reader)
            if answer is None:
                raise Wrong(f"hung up after {statuses}")
            judge_refusal(answer)
            statuses.append(answer.status)
        return statuses


def post(body: bytes = BODY, *fields: str, length: str | None = None, target: str = PATH) -> bytes:
    """A whole request."""
    head = [f"POST {target} HTTP/1.1", "Host: x", f"Content-Length: {length or len(body)}", *fields]
    return "\r\n".join([*head, "", ""]).encode("latin-1") + body


def head(*fields: str, line: str = f"POST {PATH} HTTP/1.1") -> bytes:
    return "\r\n".join([line, "Host: x", *fields, "", ""]).encode("latin-1")


async def garbage(caller: Caller, rng: random.Random) -> None:
    """No HTTP at all."""
    hello = bytes.fromhex("16030100a5010000a10303") + rng.randbytes(160)
    http2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9)
    noise = rng.randbytes(rng.choice([1, 100, 5000]))
    await _until_hung_up(
        caller, rng.choice([hello, http2, noise, b"\r\n" * 500, b"\0" * 100, b"GET\r\n\r\n"])
    )


async def wrong_heads(caller: Caller, rng: random.Random) -> None:
    """Request lines and headers that are none, or too large."""
    line = rng.choice(
        [
            *(f"POST {PATH} HTTP/{version}" for version in ("0.9", "1.0", "2.0", "3.7", "1.1.1", "x", "")),
            *(
                "post / HTTP/1.1",
                "GET  / HTTP/1.1",
                "GET /\t HTTP/1.1",
                "CONNECT x:1 HTTP/1.1",
                "G\0T / HTTP/1.1",
            ),
            *("GET http://x/v2 HTTP/1.1", "GET * HTTP/1.1", "OPTIONS * HTTP/1.1", "GET /\x80\xff HTTP/1.1"),
            *("GET /" + "x" * size + " HTTP/1.1" for size in (1000, 70_000, 500_000)),
            *("X" * size + " / HTTP/1.1" for size in (100, 100_000)),
        ]
    )
    fields = rng.choice(
        [
            [],
            *(
                [field]
                for field in ("NoColon", ": empty", "A b: c", "A : b", "A: b\0c", "A: b\rc", "\x80: x")
            ),
            ["A: b", " folded"],
            [f"X-{number}: y" for number in range(rng.choice([50, 101, 1000, 20_000]))],
            ["X: " + "y" * rng.choice([8000, 70_000, 600_000, 3_000_000])],
            ["Host: y", "Host: z"],
        ]
    )
    await _until_hung_up(caller, head(*fields, "Connection: close", line=line))


async def wrong_lengths(caller: Caller, rng: random.Random) -> None:
    """Bodies that are not as long as the head says, or whose length cannot be told."""
    fields = rng.choice(
        [
            *(
                [f"Content-Length: {length}"]
                for length in ("-1", "+5", "5,5", "0x5", "1e3", "", " ", "9" * 30)
            ),
            ["Content-Length: 5", "Content-Length: 6"],
            [f"Content-Length: {len(BODY) + 1}"],
            [f"Content-Length: {len(BODY) - 1}"],
            ["Content-Length: 0"],
            [f"Content-Length: {len(BODY)}", "Transfer-Encoding: chunked"],
            *(
                [f"Transfer-Encoding: {coding}"]
                for coding in ("gzip", "identity", "chunked, chunked", "xchunked", "")
            ),
            ["Transfer-Encoding: gzip, chunked"],
            [],
        ]
    )
    await _until_hung_up(caller, head(*fields) + BODY)


async def wrong_chunks(caller: Caller, rng: random.Random) -> None:
    size = f"{len(BODY):x}".encode()
    chunks = rng.choice(
        [
            *(
                length + b"\r\n" + BODY
                for length in (b"-1", b"g", b"", b"0x5", b"f" * 20, b"ffffffff", b" 5")
            ),
            size + b";" + b"x" * 200_000 + b"\r\n" + BODY + b"\r\n0\r\n\r\n",
            size + b"\r\n" + BODY + b"X\r\n0\r\n\r\n",
            size + b"\n" + BODY + b"\n0\n\n",
            size + b"\r\n" + BODY,
            size + b"\r\n" + BODY + b"\r\n0\r\n" + b"Trailer: x\r\n" * 5000 + b"\r\n",
            b"1\r\n{\r\n" * 3000 + b"0\r\n\r\n",
            b"100000\r\n" + bytes(0x100000),
        ]
    )
    await _until_hung_up(caller, head("Transfer-Encoding: chunked") + chunks)


async def good_chunks(caller: Caller, rng: random.Random) -> None:
    """Many small ones, with extensions and trailers: answered."""
    size = rng.choice([1, 7, 50])
    cut = [BODY[at : at + size] for at in range(0, len(BODY), size)]
    chunks = b"".join(f"{len(part):X};a=b\r\n".encode() + part + b"\r\n" for part in cut)
    await caller.drip(head("Transfer-Encoding: chunked") + chunks + b"0\r\nT: x\r\n\r\n", 3, 0.02)
    _expect(await caller.statuses(1), [200])


async def pipelined(caller: Caller, rng: random.Random) -> None:
    """Many requests at once: all answered, in order."""
    count = rng.choice([2, 5, 40])
    bodies = [json.dumps({**matrix_request(ROW), "id": str(number)}).encode() for number in range(count)]
    await caller.send(b"".join(map(post, bodies)))
    for number in range(count):
        answer = await read_answer(caller.reader)
        if answer is None or answer.status != 200 or json.loads(answer.body)["id"] != str(number):
            raise Wrong(f"answer {number} of {count} pipelined requests: {answer}")


async def pipelined_with_wrong_ones(caller: Caller, rng: random.Random) -> None:
    """Refused bodies between good ones: each gets its own answer."""
    kinds = [rng.random() < 0.5 for _ in range(6)]
    await caller.send(b"".join(post() if good else post(b"{" * rng.randrange(1, 9)) for good in kinds))
    _expect(await caller.statuses(6), [200 if good else 400 for good in kinds])


async def slow(caller: Caller, rng: random.Random) -> None:
    """Head and body come in small pieces: answered all the same."""
    await caller.drip(post(), rng.choice([5, 20]), 0.1)
    _expect(await caller.statuses(1), [200])


async def hung_up(caller: Caller, rng: random.Random) -> None:
    """The caller goes, somewhere in its request."""
    whole = post(rng.choice([BODY, bytes(1_000_000)]))
    await caller.send(whole[: rng.randrange(1, len(whole))])
    await asyncio.sleep(rng.choice([0, 0.005]))
    if rng.random() < 0.5:
        caller.reset()
    else:
        caller.end()
        await caller.answers()


async def unread(caller: Caller, rng: random.Random) -> None:
    """The caller asks for much and reads nothing."""
    rows = rng.choice([1, 1000])
    await asyncio.wait_for(
        caller.send(post(json.dumps(matrix_request(*[ROW] * rows)).encode()) * 10), PATIENCE
    )
    await asyncio.sleep(0.02)
    caller.reset()


async def continued(caller: Caller, rng: random.Random) -> None:
    """Expect: 100-continue, and what nobody can expect."""
    wish = rng.choice(["100-continue", "100-Continue", "200-ok", ""])
    await caller.send(head(f"Content-Length: {len(BODY)}", f"Expect: {wish}", "Connection: close"))
    await asyncio.sleep(0.005)
    await caller.send(BODY)
    answers = await caller.answers()
    if wish == "100-continue":
        _expect([answer.status for answer in answers], [200])


async def upgraded(caller: Caller, rng: random.Random) -> None:
    """Another protocol is wished for; this one is spoken."""
    kind = rng.choice(["h2c", "websocket", "TLS/1.0"])
    fields = (f"Upgrade: {kind}", "Connection: Upgrade", "HTTP2-Settings: AAMAAABkAAQAAP__")
    await _until_hung_up(caller, post(BODY, *fields))


async def smuggled(caller: Caller, rng: random.Random) -> None:
    """A request within what two readers may read differently: never answered."""
    inner = post()
    fields = rng.choice(
        [
            (f"Content-Length: {len(inner)}", "Content-Length: 0"),
            ("Content-Length: 0", f"Content-Length: {len(inner)}"),
            (f"Content-Length: {len(inner) + 5}", "Transfer-Encoding: chunked"),
            (
                "Transfer-Encoding: chunked",
                "Transfer-Encoding: identity",
                f"Content-Length: {len(inner) + 5}",
            ),
            ("Transfer-Encoding : chunked", f"Content-Length: {len(inner) + 5}"),
        ]
    )
    await caller.send(head(*fields) + b"0\r\n\r\n" + inner)
    caller.end()
    if sum(answer.status == 200 for answer in await caller.answers()):
        raise Wrong(f"a smuggled request was answered: {fields}")


async def idle(caller: Caller, rng: random.Random) -> None:
    """Nothing comes."""
    await asyncio.sleep(rng.choice([0, 0.01]))
    caller.end()
    await caller.answers()


async def raw_pipelined(caller: Caller, rng: random.Random) -> None:
    """Binary requests one after the other, cut anywhere."""
    body, length = binary_request(
        raw("features", "FP32", ROW, [1, 5]), parameters={"binary_data_output": True}
    )
    whole = post(body, f"Inference-Header-Content-Length: {length}") * 4
    at = rng.randrange(len(whole))
    await caller.send(whole[:at])
    await asyncio.sleep(0.002)
    await caller.send(whole[at:])
    _expect(await caller.statuses(4), [200] * 4)


CASES: Final[Sequence[Callable[[Caller, random.Random], Awaitable[None]]]] = (
    garbage, wrong_heads, wrong_heads, wrong_lengths, wrong_lengths, wrong_chunks, good_chunks, pipelined,
    pipelined_with_wrong_ones, slow, hung_up, hung_up, unread, continued, upgraded, smuggled, idle,
    raw_pipelined,
)  # fmt: skip


async def _until_hung_up(caller: Caller, data: bytes) -> None:
    """Send it, say that nothing more comes, and read what the server says to it."""
    await caller.send(data)
    caller.end()
    await caller.answers()


def _expect(statuses: list[int], wanted: list[int]) -> None:
    if statuses != wanted:
        raise Wrong(f"answered {statuses}, and it should be {wanted}")

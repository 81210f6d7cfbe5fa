"""A load generator: one process, many keep-alive connections, each with one request in flight.

`load` asks as fast as it is answered (closed loop); `steady` asks at a rate, whatever becomes of what was
asked (open loop): a request that finds no free connection waits, and its wait counts.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass, field
from typing import cast


@dataclass(frozen=True)
class Load:
    """What one round of requests measured; times in seconds."""

    answered: int
    seconds: float
    latencies: list[float]
    failures: int
    generator_seconds: float = 0.0
    """Processor time that asking itself took."""

    @property
    def rate(self) -> float:
        return self.answered / self.seconds

    def quantile(self, share: float) -> float:
        ranked = sorted(self.latencies)
        return ranked[min(len(ranked) - 1, int(share * len(ranked)))]


class _Connection(asyncio.Protocol):
    """Sends the request again as soon as it is answered, until the deadline."""

    def __init__(self, request: bytes, deadline: float, ended: asyncio.Future[None]) -> None:
        self._request = request
        self._deadline = deadline
        self._ended = ended
        self._received = b""
        self.latencies: list[float] = []
        self.failures = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._send()

    def _send(self) -> None:
        self._sent = time.perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, separator, body = self._received.partition(b"\r\n\r\n")
        if not separator or len(body) < _content_length(head):
            return
        self.latencies.append(time.perf_counter() - self._sent)
        self.failures += not head.startswith(b"HTTP/1.1 200")
        self._received = b""
        if time.perf_counter() < self._deadline:
            self._send()
        else:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None:
            self.failures += 1
        self._ended.set_result(None)


def _content_length(head: bytes) -> int:
    at = head.lower().index(b"content-length:") + len(b"content-length:")
    return int(head[at:].split(b"\r\n", 1)[0])


def _request(path: str, body: bytes) -> bytes:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def load(port: int, path: str, body: bytes, *, seconds: float, connections: int = 32) -> Load:
    """Ask for that long."""
    request = _request(path, body)
    loop = asyncio.get_running_loop()
    started, used = time.perf_counter(), time.process_time()
    protocols: list[_Connection] = []
    ends: list[asyncio.Future[None]] = []
    for _ in range(connections):
        end: asyncio.Future[None] = loop.create_future()
        ends.append(end)

        def make(end: asyncio.Future[None] = end) -> _Connection:
            return _Connection(request, started + seconds, end)

        _, protocol = await loop.create_connection(make, "127.0.0.1", port)
        protocols.append(protocol)
    await asyncio.gather(*ends)
    latencies = [latency for protocol in protocols for latency in protocol.latencies]
    failures = sum(protocol.failures for protocol in protocols)
    took = time.perf_counter() - started
    return Load(len(latencies), took, latencies, failures, time.process_time() - used)


@dataclass
class _Steady:
    """What the connections of `steady` share."""

    request: bytes
    free: list[_SteadyConnection] = field(default_factory=list)
    waiting: deque[float] = field(default_factory=deque)
    """When those were to be sent that found no free connection."""
    latencies: list[float] = field(default_factory=list)
    failures: int = 0

    def ask(self, now: float) -> None:
        if self.free:
            self.free.pop().send(now)
        else:
            self.waiting.append(now)


class _SteadyConnection(asyncio.Protocol):
    def __init__(self, shared: _Steady) -> None:
        self._shared = shared
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._shared.free.append(self)

    def send(self, due: float) -> None:
        self._due = due
        self.transport.write(self._shared.request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, separator, body = self._received.partition(b"\r\n\r\n")
        if not separator or len(body) < _content_length(head):
            return
        shared = self._shared
        shared.latencies.append(time.perf_counter() - self._due)
        shared.failures += not head.startswith(b"HTTP/1.1 200")
        self._received = b""
        if shared.waiting:
            self.send(shared.waiting.popleft())
        else:
            shared.free.append(self)


async def steady(
    port: int, path: str, body: bytes, *, rate: float, seconds: float, connections: int = 64
) -> Load:
    """Ask `rate` times a second for that long. A request's time begins when its turn has come, to the
    millisecond that timers have."""
    shared = _Steady(_request(path, body))
    loop = asyncio.get_running_loop()
    opened = [
        (await loop.create_connection(lambda: _SteadyConnection(shared), "127.0.0.1", port))[0]
        for _ in range(connections)
    ]
    started, used = time.perf_counter(), time.process_time()
    sent = 0
    while (now := time.perf_counter()) < started + seconds:
        while sent <= (now - started) * rate:
            shared.ask(now)
            sent += 1
        await asyncio.sleep(max(0.0, started + sent / rate - time.perf_counter()))
    while len(shared.latencies) < sent and time.perf_counter() < started + seconds + 10:
        await asyncio.sleep(0.001)
    took, used = time.perf_counter() - started, time.process_time() - used
    for transport in opened:
        transport.close()
    failures = shared.failures + sent - len(shared.latencies)
    return Load(len(shared.latencies), took, shared.latencies, failures, used)

"""A load generator: one process, many keep-alive connections, each with one request in flight."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import cast


@dataclass(frozen=True)
class Load:
    """What one round of requests measured; times in seconds."""

    answered: int
    seconds: float
    latencies: list[float]
    failures: int

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


async def load(port: int, path: str, body: bytes, *, seconds: float, connections: int = 32) -> Load:
    """Ask for that long."""
    request = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body
    loop = asyncio.get_running_loop()
    started = time.perf_counter()
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
    return Load(len(latencies), time.perf_counter() - started, latencies, failures)

"""A server that speaks Redis' protocol and says what a test wants, for what a real one says rarely."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import hiredis

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable


@asynccontextmanager
async def fake_redis(
    answer: Callable[[list[bytes]], bytes], *, port: int = 0, tls: ssl.SSLContext | None = None
) -> AsyncIterator[int]:
    """Its port. `answer` makes the bytes to send for a command."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        parser = hiredis.Reader()
        while data := await reader.read(1 << 16):
            parser.feed(data)
            while command := parser.gets():
                writer.write(answer(command))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", port, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()

"""A caller that sends its body byte by byte is let go, and its connection with it."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import TYPE_CHECKING

from granian.constants import HTTPModes, Interfaces
from granian.server.embed import Server
from no_log import no_log
from serving_process import free_port

from windtunnel.serving import app
from windtunnel.serving.challenger import Challenger
from windtunnel.serving.challenger_command import challenger_command
from windtunnel.serving.dataplane import Dataplane
from windtunnel.serving.loader import BundleLoader
from windtunnel.serving.metrics import Metrics

if TYPE_CHECKING:
    import pytest

    from windtunnel.objects import ObjectStore


class AnyModel(Dataplane):
    """Has every model, so that the body is read."""

    def select(self, name: str, version: str | None) -> app.Any:
        class Loaded:
            lifecycle, version = "m", "1"

        return Loaded


def drip(port: int) -> bytes:
    """What the server says until it closes the connection, while a byte comes each 20 ms."""
    said = b""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(b"POST /v2/models/m/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n")
        connection.settimeout(0.02)
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            try:
                connection.sendall(b" ")
                got = connection.recv(1000)
            except TimeoutError:
                continue
            except ConnectionError:
                return said
            if not got:
                return said
            said += got
    raise AssertionError(f"the connection is still open: {said!r}")


def test_a_body_that_drips_is_refused_in_time(monkeypatch: pytest.MonkeyPatch, store: ObjectStore) -> None:
    monkeypatch.setattr(app, "BODY_SECONDS", 0.3)
    metrics = Metrics()
    load = BundleLoader(store, None)

    async def serve_and_drip() -> bytes:
        log = no_log(metrics)
        challenger = Challenger(metrics, challenger_command(None), load.interface, log.record)
        port = free_port()
        server = Server(
            app.App(AnyModel(metrics, challenger, log), metrics),
            address="127.0.0.1",
            port=port,
            interface=Interfaces.RSGI,
            http=HTTPModes.http1,
            websockets=False,
            log_enabled=False,
        )
        serving = asyncio.create_task(server.serve())
        await asyncio.sleep(0.5)
        try:
            return await asyncio.to_thread(drip, port)
        finally:
            server.stop()  # type: ignore[no-untyped-call]
            await serving

    said = asyncio.run(serve_and_drip())
    assert said.startswith(b"HTTP/1.1 408")
    assert b"did not come within" in said

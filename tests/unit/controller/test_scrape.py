"""Reading pods over real sockets: those that answer, and those that would make one wait."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest
from http_server import QuietHandler, answering
from waiting import HANG

from windtunnel.controller.scrape import Scraper

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Metrics(QuietHandler):
    """What a pod at 127.0.0.N answers is in `answers`; all else is 404."""

    answers: dict[str, bytes]

    def do_GET(self) -> None:
        address = self.connection.getsockname()[0]
        body = self.answers.get(address) if self.path == "/metrics" else None
        self.send_response(404 if body is None else 200)
        self.end_headers()
        self.wfile.write(body or b"")


@contextmanager
def pods(**answers: bytes) -> Iterator[int]:
    """Pods by the last byte of their address, `p2` being 127.0.0.2; yields their port."""
    handler = type(
        "Handler", (Metrics,), {"answers": {f"127.0.0.{name[1:]}": body for name, body in answers.items()}}
    )
    with answering(ThreadingHTTPServer(("0.0.0.0", 0), handler)) as server:
        yield server.server_port


@contextmanager
def listener(behave: Callable[[socket.socket], None]) -> Iterator[int]:
    """A pod that does as it likes with each connection; yields its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                threading.Thread(target=behave, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


def drip(connection: socket.socket) -> None:
    """One byte at a time, for as long as anybody listens."""
    try:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            connection.sendall(b"#")
            time.sleep(0.05)
    except OSError:
        connection.close()


def hang(connection: socket.socket) -> None:
    time.sleep(10 * HANG)
    connection.close()


def pour(connection: socket.socket) -> None:
    try:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            connection.sendall(b"#" * 1_000_000)
    except OSError:
        connection.close()


def test_reads_all_pods_and_leaves_out_those_that_do_not_answer() -> None:
    with pods(p2=b"a 1\n", p3=b"b 2 \xff\n") as port:
        found = Scraper(port).scrape({"a": "127.0.0.2", "b": "127.0.0.3", "other": "127.0.0.4"})
    assert found == {"a": "a 1\n", "b": "b 2 \ufffd\n"}


def test_nobody_to_ask() -> None:
    assert Scraper().scrape({}) == {}


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert Scraper(port).scrape({"gone": "127.0.0.1"}) == {}


@pytest.mark.parametrize("behave", [drip, pour, hang, socket.socket.close])
def test_a_pod_that_would_take_for_ever_is_left_out_in_time(behave: Callable[[socket.socket], None]) -> None:
    with listener(behave) as port:
        started = time.monotonic()
        assert Scraper(port).scrape({"bad": "127.0.0.1"}) == {}
        assert time.monotonic() - started < HANG


def test_hanging_pods_hold_up_no_later_look_at_the_others() -> None:
    """More of them than there are threads would."""
    with listener(hang) as port:
        scraper = Scraper(port)
        for _ in range(3):
            started = time.monotonic()
            assert scraper.scrape({f"pod-{number}": "127.0.0.1" for number in range(100)}) == {}
            assert time.monotonic() - started < HANG

"""GET /metrics and GET /healthz; everything else is refused."""

from __future__ import annotations

import http.server
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

if TYPE_CHECKING:
    from collections.abc import Callable

    from windtunnel.exporter.refresher import Refresher

PORT: Final = 9108
STUCK_AFTER_SECONDS: Final = 900.0
"""Without a step further the exporter asks to be started anew; one answer of a store may take two minutes."""
_CLIENT_SECONDS: Final = 120.0
"""That a client may take to ask, or to read, and to ask again: longer than between two scrapes."""


class MetricsServer(http.server.ThreadingHTTPServer):
    """Answers from the page that the refresher holds; a scrape reads no store."""

    daemon_threads = True

    def __init__(
        self, refresher: Refresher, port: int = PORT, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Listens on all addresses; raises OSError when the port is taken. Port 0 takes a free one."""
        self.refresher = refresher
        self.clock = clock
        super().__init__(("", port), _Handler)

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class _Handler(http.server.BaseHTTPRequestHandler):
    server: MetricsServer
    protocol_version = "HTTP/1.1"
    timeout = _CLIENT_SECONDS

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/metrics":
            page = self.server.refresher.page
            if "gzip" in self.headers.get("Accept-Encoding", ""):
                self._answer(HTTPStatus.OK, page.gzipped, CONTENT_TYPE_PLAIN_0_0_4, encoding="gzip")
            else:
                self._answer(HTTPStatus.OK, page.plain, CONTENT_TYPE_PLAIN_0_0_4)
        elif path == "/healthz":
            idle = self.server.clock() - self.server.refresher.alive_at
            if idle < STUCK_AFTER_SECONDS:
                self._answer(HTTPStatus.OK, b"ok\n")
            else:
                text = f"nothing has been read for {idle:.0f} s: a store does not answer, or a thread died\n"
                self._answer(HTTPStatus.SERVICE_UNAVAILABLE, text.encode())
        else:
            self._answer(HTTPStatus.NOT_FOUND, b"there are /metrics and /healthz\n")

    def _answer(
        self, status: HTTPStatus, body: bytes, kind: str = "text/plain; charset=utf-8", encoding: str = ""
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if encoding:
            self.send_header("Content-Encoding", encoding)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """A scrape every few seconds is no news."""

"""A TCP proxy in a thread that misbehaves on purpose: it cuts, stalls, or answers with something else."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Self


class CuttingProxy:
    """A context manager in front of `port`. Its attributes may be set at any time."""

    def __init__(self, port: int) -> None:
        self.target = port
        """Where new connections go."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.cut_after: int | None = None
        """Cut a connection when so many bytes of answers have passed on it."""
        self.cut_every: int | None = None
        """The same, counted over all connections together, again and again."""
        self.stalled = threading.Event()
        """While it is set, no answer passes."""
        self.connections = 0
        self._passed = 0
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        self.cut()

    def cut(self) -> None:
        """End every connection now."""
        with self._lock:
            for one in self._open:
                _end(one)
            self._open.clear()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:  # closed
                return
            try:
                server = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                _end(client)
                continue
            self.connections += 1
            with self._lock:
                self._open |= {client, server}
            for source, sink, answers in ((client, server, False), (server, client, True)):
                threading.Thread(target=self._pass, args=(source, sink, answers), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket, answers: bool) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                while answers and self.stalled.is_set():
                    threading.Event().wait(0.005)
                if answers and (keep := self._keep(passed, len(data))) is not None:
                    sink.sendall(data[:keep])
                    break
                sink.sendall(data)
                passed += len(data)
        _end(source)
        _end(sink)

    def _keep(self, passed: int, more: int) -> int | None:
        """How much of the answer still passes before the cut; None when it is not time for one."""
        if self.cut_after is not None and passed + more >= self.cut_after:
            return self.cut_after - passed
        if self.cut_every is None:
            return None
        with self._lock:
            self._passed += more
            if self._passed < self.cut_every:
                return None
            over = self._passed - self.cut_every
            self._passed = 0
        return max(0, more - over)


def _end(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()

"""Keeps the process that writes the prediction log, and all chunks until they are stored: what a writer that
died had not stored is sent to the next one."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import sys
import time
from typing import TYPE_CHECKING, Final, cast

from windtunnel.prediction_log.keys import writer_name
from windtunnel.serving import child_process
from windtunnel.serving.log_records import CHUNK, END, frame, reply_decoder

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Sequence

    from windtunnel.serving.log_metrics import LogMetrics, Reason
    from windtunnel.serving.log_records import Reply

log = logging.getLogger(__name__)

DEATHS: Final = 5
"""So many deaths in a row, with nothing stored in between, and what is kept counts as their cause."""
_RESTART: Final = (0.2, 1.0, 5.0, 15.0)
"""Seconds before a dead writer is started again, by deaths in a row."""
_SILENCE: Final = 300.0
"""Seconds without a word of a writer that has something to store, after which it counts as hung."""
_LOOK: Final = 15.0
"""Seconds between looks whether it does."""

_ENVIRONMENT: Final = {
    "TOKIO_WORKER_THREADS": "1",  # the object store's client would take a thread for each processor
    "MALLOC_ARENA_MAX": "1",
    "OMP_NUM_THREADS": "1",
}


def log_command(seconds: float) -> list[str]:
    """The command line of this process' writer, which gathers rows for so long."""
    name = writer_name(socket.gethostname(), time.time_ns())
    return [
        sys.executable, "-m", "windtunnel.serving.log_writer", "--writer", name, "--seconds", str(seconds),
    ]  # fmt: skip


class _Kept:
    """One chunk that is not stored yet."""

    __slots__ = ("payload", "rows")

    def __init__(self, payload: bytes, rows: int) -> None:
        self.payload = payload
        self.rows = rows


class LogKeeper:
    """Keeps one process; on the event loop only. `command` is its command line but for the socket."""

    def __init__(self, command: Sequence[str], metrics: LogMetrics) -> None:
        self._command = command
        self._metrics = metrics
        self._kept: dict[int, _Kept] = {}
        """In the order in which they were sent."""
        self._sent = 0
        self._link: _Link | None = None
        self._task: asyncio.Task[None] | None = None
        self._deaths = 0
        self._ending = False
        self._hurry = asyncio.Event()
        """Start a dead writer again now."""
        self._settled = asyncio.Event()
        """Nothing is kept."""
        self._settled.set()
        self.bytes = 0
        """Of all chunks that are kept."""

    def start(self) -> None:
        """Keep a process from now on."""
        if self._task is None:
            self._task = asyncio.create_task(self._keep())

    def send(self, payload: bytes, rows: int) -> None:
        """Have a chunk stored."""
        self._sent += 1
        self._kept[self._sent] = _Kept(payload, rows)
        self._settled.clear()
        self.bytes += len(payload)
        if self._link is not None:
            self._link.send(CHUNK, self._sent, payload)

    async def finish(self, seconds: float) -> int:
        """Wait so long until all is stored, and end the process; the rows that are not."""
        if self._task is None:
            return 0
        self._ending = True
        if self._link is not None:
            self._link.send(END, 0, b"")
        self._hurry.set()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._settled.wait(), seconds)
        self._task.cancel()
        await asyncio.wait({self._task})
        return sum(kept.rows for kept in self._kept.values())

    async def _keep(self) -> None:
        while True:
            try:
                why = await self._run()
            except OSError as error:
                why = f"it cannot be started: {error}"
            self._deaths += 1
            log.warning("the writer of the prediction log died: %s", why)
            if self._deaths % DEATHS == 0:
                self._drop(list(self._kept), "writer_died")
            delay = _RESTART[min(self._deaths, len(_RESTART)) - 1]
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._hurry.wait(), delay)
            # once: one that cannot even be started must not keep the loop from all else
            self._hurry.clear()
            self._metrics.writer_restarts.inc()

    async def _run(self) -> str:
        """One life of the process; why it ended. Raises OSError."""
        link = await child_process.start(
            self._command, _ENVIRONMENT, lambda process: _Link(process, self._hear)
        )
        try:
            for number, kept in self._kept.items():
                link.send(CHUNK, number, kept.payload)
            if self._ending:
                link.send(END, 0, b"")
            self._link = link
            await self._watch(link)
        finally:
            self._link = None
            code = await asyncio.shield(link.end())
        return f"killed by signal {-code}" if code < 0 else f"exit code {code}"

    async def _watch(self, link: _Link) -> None:
        """Returns when it has ended, or is hung."""
        loop = asyncio.get_running_loop()
        while not (await asyncio.wait({link.ended}, timeout=_LOOK))[0]:
            if not self._kept:
                link.heard = loop.time()
            elif loop.time() - link.heard > _SILENCE:
                log.warning("the writer of the prediction log has said nothing for %.0f s", _SILENCE)
                link.kill()

    def _hear(self, reply: Reply) -> None:
        if reply.failure:
            self._metrics.store_failures.inc()
            log.warning("the prediction log waits for the object store: %s", reply.failure)
        if reply.stored:
            self._deaths = 0
            self._metrics.rows.inc(self._forget(reply.stored))
        if reply.unfit:
            self._drop(reply.unfit, "unfit")

    def _drop(self, numbers: list[int], reason: Reason) -> None:
        self._metrics.dropped(reason, self._forget(numbers))

    def _forget(self, numbers: list[int]) -> int:
        """The rows of those chunks, which are kept no more."""
        rows = 0
        for number in numbers:
            kept = self._kept.pop(number, None)
            if kept is not None:
                self.bytes -= len(kept.payload)
                rows += kept.rows
        if not self._kept:
            self._settled.set()
        return rows


class _Link(asyncio.Protocol):
    """The socket to one process, and the process."""

    def __init__(self, process: subprocess.Popen[bytes], hear: Callable[[Reply], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._process = process
        self._hear = hear
        self._received = b""
        self.ended: asyncio.Future[None] = self._loop.create_future()
        """Done when it has closed its socket."""
        self.heard = self._loop.time()

    def send(self, kind: int, number: int, payload: bytes) -> None:
        if not self.ended.done():
            self._transport.writelines(frame(kind, number, payload))

    def kill(self) -> None:
        self._process.kill()
        self._transport.abort()

    async def end(self) -> int:
        """Close the socket; the exit code of the process, which is killed if it does not end by itself."""
        self._transport.abort()
        return await child_process.reap(self._process)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.heard = self._loop.time()
        *lines, self._received = (self._received + data).split(b"\n")
        for line in lines:
            self._hear(reply_decoder.decode(line))

    def connection_lost(self, exc: Exception | None) -> None:
        log.debug("the socket of the prediction log's writer has ended: %s", exc)
        if not self.ended.done():
            self.ended.set_result(None)

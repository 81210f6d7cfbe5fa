"""`python -m windtunnel.serving.log_writer`: makes files of what serving records, and stores them.

Started by the serving process, which talks to it over a socket (see log_records) and keeps each chunk until
this process says that it is stored. It gives way to the serving process when the processor is short. A file's
name is that of its first chunk: what a former writer stored without saying so is written over, not twice.
When the serving process ends it stores what it has, for a few seconds.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from windtunnel.errors import WindtunnelError
from windtunnel.objects import open_store
from windtunnel.prediction_log.keys import object_key
from windtunnel.serving.log_parquet import to_parquet
from windtunnel.serving.log_records import CHUNK, END, HEADER, Reply, chunk_decoder, reply_encoder
from windtunnel.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from io import BufferedReader

    from windtunnel.objects import ObjectStore
    from windtunnel.serving.log_records import Head, Record

log = logging.getLogger(__name__)

FILE_BYTES: Final = 4 * 1024 * 1024
"""Bytes of chunks that are written without waiting, and about how many are written together."""
_STORE_PATIENCE: Final = 5.0
"""Seconds that the object store's client goes on trying by itself."""
_RETRY: Final = (0.5, 1.0, 2.0, 5.0, 10.0)
"""Seconds before a file is stored again, by failures in a row."""
_ORPHAN_SECONDS: Final = 10.0
"""Seconds that this process outlives the serving process to store what it has."""
_NICENESS: Final = 10
"""A tenth of the processor that the serving process gets, where there is not enough for both."""


def main(arguments: Sequence[str]) -> int:
    """Returns the process's exit code."""
    options = _parser().parse_args(arguments)
    _submit()
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s prediction log: %(message)s", stream=sys.stderr
    )
    try:
        store = open_store(
            Settings.from_environment(os.environ).store, os.environ, patience_seconds=_STORE_PATIENCE
        )
    except WindtunnelError as error:
        log.error("%s", error)
        return 1
    with socket.socket(fileno=options.socket) as connection:
        writer = LogWriter(store, options.writer, options.seconds, connection)
        storing = threading.Thread(target=_or_die, args=(writer.run,), name="store", daemon=True)
        storing.start()
        with connection.makefile("rb") as incoming, contextlib.suppress(ConnectionError):
            writer.read(incoming)
        storing.join(_ORPHAN_SECONDS)
    # not by the way that waits for threads: one may hang in the object store
    os._exit(storing.is_alive())


def _or_die(run: Callable[[], None]) -> None:
    try:
        run()
    except BaseException:
        # a thread's error would be heard by nobody, and chunks would be taken that nobody stores
        log.exception("cannot go on")
        os._exit(1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m windtunnel.serving.log_writer")
    parser.add_argument("--socket", type=int, required=True, help="file descriptor to the serving process")
    parser.add_argument("--writer", required=True, help="name that its files begin with")
    parser.add_argument(
        "--seconds", type=float, required=True, help="a file is stored so long after its first row"
    )
    return parser


def _submit() -> None:
    """Take the last place: for the processor, and for memory the last but the challenger's."""
    # It ends when its socket does; whoever ends a whole group of processes means the serving process.
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, signal.SIG_IGN)
    # A sandbox may refuse these: a reason to do without them, not without the log.
    with contextlib.suppress(OSError):
        os.nice(_NICENESS)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("900")


class LogWriter:
    """`read` takes chunks in one thread, `run` stores them in another."""

    def __init__(self, store: ObjectStore, name: str, seconds: float, connection: socket.socket) -> None:
        self._store = store
        self._name = name
        self._seconds = seconds
        self._connection = connection
        self._changed = threading.Condition()
        self._waiting: list[tuple[int, bytes]] = []
        """Chunks with their numbers."""
        self._bytes = 0
        self._due = 0.0
        """When the first of them is to be stored (time.monotonic)."""
        self._ending = False

    def read(self, incoming: BufferedReader) -> None:
        """Until the serving process says that there is no more, or is no more."""
        try:
            while len(header := incoming.read(HEADER.size)) == HEADER.size:
                length, kind, number = HEADER.unpack(header)
                payload = incoming.read(length)
                if len(payload) < length:
                    break
                if kind == CHUNK:
                    self._take(number, payload)
                elif kind == END:
                    self._end()
        finally:
            self._end()

    def run(self) -> None:
        """Store what is read, until its end."""
        while chunks := self._next():
            for file in self._sorted(chunks):
                self._write(file)

    def _take(self, number: int, payload: bytes) -> None:
        with self._changed:
            if not self._waiting:
                self._due = time.monotonic() + self._seconds
            self._waiting.append((number, payload))
            self._bytes += len(payload)
            self._changed.notify()

    def _end(self) -> None:
        with self._changed:
            self._ending = True
            self._changed.notify()

    def _next(self) -> list[tuple[int, bytes]]:
        """Chunks to store together, when it is time; none at the end."""
        with self._changed:
            while not self._ending and self._bytes < FILE_BYTES:
                wait = self._due - time.monotonic() if self._waiting else None
                if wait is not None and wait <= 0:
                    break
                self._changed.wait(wait)
            size = taken = 0
            while taken < len(self._waiting) and size < FILE_BYTES:
                size += len(self._waiting[taken][1])
                taken += 1
            chunks, self._waiting = self._waiting[:taken], self._waiting[taken:]
            self._bytes -= size
            return chunks

    def _sorted(self, chunks: list[tuple[int, bytes]]) -> Iterable[_File]:
        """The chunks by version and hour: what makes one file each."""
        files: dict[tuple[str, str, int], _File] = {}
        for number, payload in chunks:
            try:
                chunk = chunk_decoder.decode(payload)
            except msgspec.MsgspecError as error:
                self._give_up([number], error)
                continue
            head = chunk.head
            file = files.setdefault((head.digest, head.version, head.hour), _File(head, []))
            file.parts.append((number, chunk.records))
        return files.values()

    def _write(self, file: _File) -> None:
        """Store it, however long that takes."""
        numbers = [number for number, _ in file.parts]
        records = [record for _, part in file.parts for record in part]
        try:
            data = to_parquet(file.head, records, self._name)
        except BaseException as error:  # whatever hostile values lead to, panics of Rust among it
            if len(numbers) == 1:
                self._give_up(numbers, error)
            else:
                for part in file.parts:
                    self._write(_File(file.head, [part]))
            return
        head = file.head
        key = object_key(head.lifecycle, head.hour, self._name, numbers[0], head.digest)
        failures = 0
        while True:
            try:
                self._store.put(key, data)
            except WindtunnelError as error:
                # A refusal, too: rights may be given while it waits.
                self._tell(Reply(failure=str(error)))
                time.sleep(_RETRY[min(failures, len(_RETRY) - 1)])
                failures += 1
            else:
                break
        self._tell(Reply(stored=numbers))

    def _give_up(self, numbers: list[int], error: BaseException) -> None:
        log.error("no file can be made of some records: %s: %s", type(error).__name__, error)
        self._tell(Reply(unfit=numbers))

    def _tell(self, reply: Reply) -> None:
        # Without the serving process there is nobody to tell, and still something to store.
        with contextlib.suppress(OSError):
            self._connection.sendall(reply_encoder.encode(reply) + b"\n")


class _File(NamedTuple):
    """What makes one file."""

    head: Head
    parts: list[tuple[int, list[Record]]]
    """Chunks by their numbers."""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

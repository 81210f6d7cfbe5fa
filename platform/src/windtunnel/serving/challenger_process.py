"""`python -m windtunnel.serving.challenger_process`: a challenger, alone with its bundle.

Started by the serving process, which talks to it over a socket (see frames) and answers for it whatever
happens here. It loads one bundle (verified, rehearsed), then computes until the socket ends. It may take so
much memory and no more, and gives way to the serving process when the processor is short. Where the kernel
ends single processes when a container's memory is short, this one comes first; a kubelet lets it end them
all, so the limit on this one is what the champion's safety rests on. It never outlives its parent.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import logging
import os
import resource
import signal
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Final

from windtunnel.digests import canonical_json
from windtunnel.errors import WindtunnelError
from windtunnel.objects import open_store
from windtunnel.registry.rehearsal import read_rehearsed
from windtunnel.serving import frames
from windtunnel.serving.model import ROWS_ON_LOOP
from windtunnel.settings import Settings
from windtunnel.spec.servedmodel import ModelVersion

if TYPE_CHECKING:
    from collections.abc import Sequence
    from io import BufferedReader

    from windtunnel.serving.model import Predictor

_STORE_PATIENCE: Final = 5.0
"""Seconds that the object store gets."""
_NICENESS: Final = 5
"""Three times less processor than the serving process gets, where there is not enough for both."""
_PR_SET_PDEATHSIG: Final = 1


def main(arguments: Sequence[str]) -> int:
    """Returns the process's exit code."""
    options = _parser().parse_args(arguments)
    _submit_to(options.parent, options.memory)
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s challenger: %(message)s", stream=sys.stderr
    )
    wanted = ModelVersion(version=options.version, bundle=options.bundle, digest=options.digest)
    with socket.socket(fileno=options.socket) as connection, contextlib.suppress(ConnectionError):
        try:
            store = open_store(
                Settings.from_environment(os.environ).store, os.environ, patience_seconds=_STORE_PATIENCE
            )
            bundle = read_rehearsed(store, options.lifecycle, wanted)
        except WindtunnelError as error:
            connection.sendall(frames.frame(frames.FAILED, 0, json.dumps(error.to_json()).encode()))
            return 0
        connection.sendall(frames.frame(frames.READY, 0, canonical_json(bundle.manifest)))
        with connection.makefile("rb") as incoming:
            _Answering(bundle, connection).run(incoming)
    # not by the way that waits for threads: what is still computed is for nobody
    os._exit(0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m windtunnel.serving.challenger_process")
    parser.add_argument("--socket", type=int, required=True, help="file descriptor to the serving process")
    parser.add_argument("--parent", type=int, required=True, help="process id of the serving process")
    parser.add_argument("--memory", type=int, required=True, help="bytes of memory that it may take")
    for name in ("lifecycle", "version", "bundle", "digest"):
        parser.add_argument(f"--{name}", required=True)
    return parser


def _submit_to(parent: int, memory: int) -> None:
    """Take the limits, and the kernel's promise that this process ends with its parent."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        # it died before the promise was given
        sys.exit(0)
    # A sandbox may refuse these two: a reason to do without them, not without the challenger.
    with contextlib.suppress(OSError):
        os.nice(_NICENESS)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    # Of the address space only what a process writes: libraries and reservations cost nothing.
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    if most != resource.RLIM_INFINITY:
        memory = min(memory, most)
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))


class _Answering:
    """Computes what comes; large batches in a thread, so that they don't hold up single rows."""

    def __init__(self, predictor: Predictor, connection: socket.socket) -> None:
        self._predictor = predictor
        self._connection = connection
        self._sending = threading.Lock()
        self._large = ThreadPoolExecutor(max_workers=1, thread_name_prefix="large")

    def run(self, incoming: BufferedReader) -> None:
        """Until the socket ends."""
        while header := incoming.read(frames.HEADER.size):
            if len(header) < frames.HEADER.size:
                break
            length, _, number = frames.HEADER.unpack(header)
            payload = incoming.read(length)
            if len(payload) < length:
                break
            matrices = list(frames.unpack_matrices(payload))
            if sum(len(matrix) for matrix in matrices) <= ROWS_ON_LOOP:
                self._answer(number, matrices)
            else:
                self._large.submit(self._answer_or_die, number, matrices)

    def _answer_or_die(self, number: int, matrices: list[frames.FloatArray]) -> None:
        try:
            self._answer(number, matrices)
        except BaseException:
            # a thread's error would be heard by nobody, and the serving process would wait
            logging.exception("cannot answer")
            os._exit(1)

    def _answer(self, number: int, matrices: list[frames.FloatArray]) -> None:
        parts = [frames.pack_answer(self._predict(matrix)) for matrix in matrices]
        with self._sending:
            self._connection.sendall(frames.frame(frames.ANSWERS, number, b"".join(parts)))

    def _predict(self, matrix: frames.FloatArray) -> frames.Answer:
        started = time.perf_counter()
        try:
            values = self._predictor.predict(matrix)
        except Exception as error:  # whatever a model raises is its answer
            return frames.Answer(time.perf_counter() - started, None, f"{type(error).__name__}: {error}")
        return frames.Answer(time.perf_counter() - started, values)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

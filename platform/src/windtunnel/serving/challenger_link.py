"""A challenger's process as the serving process sees it: started, asked, and ended.

Whatever that process does, its parent's loop is never blocked and its memory never grows without bound: what
may be asked at a time is limited, a reply that is no frame ends the process, and so does silence.
"""

from __future__ import annotations

import asyncio
import logging
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, cast

from windtunnel.serving import child_process, frames
from windtunnel.serving.time_limit import CEILING

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Sequence

    from windtunnel.serving.frames import Answer, FloatArray

log = logging.getLogger(__name__)

Reason = Literal["error", "timeout", "not_a_number", "died", "overloaded"]

MAX_LATE: Final = 8
"""Frames that may be unanswered after their time; as long as there are so many, it is asked nothing more."""
MAX_ASKED: Final = 256
"""Frames that may be unanswered."""
_MAX_BYTES: Final = 32 * 1024 * 1024
"""Bytes of them."""
SILENCE: Final = 5.0
"""Seconds without a reply, while some are due, after which a challenger counts as hung and is ended."""
_LOOK: Final = 0.5
"""Seconds between looks whether it still answers."""
_HELD_UP: Final = 0.002
"""Seconds that a timer may be late before that says something of this process rather than of the other."""

_ENVIRONMENT: Final = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}
"""Threads and allocation arenas would count against its memory, and it needs none."""


class Fault(Exception):
    """The challenger did not answer a request as it should have."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason: Reason = reason


@dataclass
class _Asked:
    answers: asyncio.Future[list[Answer]]
    matrices: int
    bytes: int
    timer: asyncio.TimerHandle | None = None
    given_grace: bool = False
    late: bool = False


class ChallengerLink(asyncio.Protocol):
    """The socket to one process, and the process; on the event loop only."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._loop = asyncio.get_running_loop()
        self._process = process
        self._reader = frames.FrameReader()
        self._asked: dict[int, _Asked] = {}
        self._bytes = 0
        self._late = 0
        self._number = 0
        self._heard = 0.0
        self._look: asyncio.TimerHandle | None = None
        self.greeting: asyncio.Future[tuple[int, bytes]] = self._loop.create_future()
        """READY or FAILED with its payload; cancelled when the process ends before."""
        self.ended: asyncio.Future[None] = self._loop.create_future()
        """Done when the process answers no more."""
        self.reason = ""
        """Why it was ended, if it was."""

    async def predict(self, matrices: Sequence[FloatArray], seconds: float) -> list[Answer]:
        """One answer for each matrix. Raises Fault, at the latest after `seconds`."""
        if self.ended.done():
            raise Fault("died", "the challenger's process has ended")
        payload = frames.pack_matrices(matrices)
        if self._late >= MAX_LATE or len(self._asked) >= MAX_ASKED or self._bytes + len(payload) > _MAX_BYTES:
            raise Fault("overloaded", f"{len(self._asked)} requests wait for the challenger already")
        number = self._number = self._number + 1
        if not self._asked:
            self._heard = self._loop.time()
        asked = self._asked[number] = _Asked(self._loop.create_future(), len(matrices), len(payload))
        self._bytes += asked.bytes
        self._transport.write(frames.frame(frames.PREDICT, number, payload))
        asked.timer = self._loop.call_later(seconds, self._expire, asked, self._loop.time(), seconds)
        try:
            return await asked.answers
        finally:
            if asked.timer is not None:
                asked.timer.cancel()

    async def finish(self) -> None:
        """End the process once it has answered who waits for it; nobody asks it any more."""
        waiting = [asked.answers for asked in self._asked.values() if not asked.answers.done()]
        try:
            if waiting:
                await asyncio.wait(waiting, timeout=CEILING)
        finally:
            self.end("it is wanted no more")

    def end(self, reason: str) -> None:
        """Kill the process, unless it has ended; it holds nothing that is worth a farewell."""
        if not self.reason:
            self.reason = reason
        if self._process.poll() is None:
            self._process.kill()
        self._transport.abort()

    async def reap(self) -> int:
        """The exit code of the process that has closed its socket; one that lives on is killed."""
        return await child_process.reap(self._process)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses
        self._transport = cast("asyncio.Transport", transport)
        self._look_again()

    def data_received(self, data: bytes) -> None:
        self._heard = self._loop.time()
        try:
            for kind, number, payload in self._reader.feed(data):
                if kind == frames.ANSWERS:
                    self._answered(number, payload)
                elif not self.greeting.done():
                    self.greeting.set_result((kind, payload))
                else:
                    raise frames.FrameError("it introduces itself twice", where="challenger's socket")
        except frames.FrameError as error:
            self.end(str(error))

    def connection_lost(self, exc: Exception | None) -> None:
        log.debug("the challenger's socket has ended: %s", exc)
        if self._look is not None:
            self._look.cancel()
        if not self.ended.done():
            self.ended.set_result(None)
        self.greeting.cancel()
        for asked in self._asked.values():
            if not asked.answers.done():
                asked.answers.set_exception(Fault("died", "the challenger's process died while it computed"))
        self._asked.clear()

    def _answered(self, number: int, payload: bytes) -> None:
        asked = self._asked.pop(number, None)
        if asked is None:
            raise frames.FrameError(f"it answers {number}, which was not asked", where="challenger's socket")
        self._bytes -= asked.bytes
        self._late -= asked.late
        try:
            answers = frames.unpack_answers(payload)
            if len(answers) != asked.matrices:
                raise frames.FrameError(
                    f"{len(answers)} answers to {asked.matrices} matrices", where="challenger's socket"
                )
        except frames.FrameError:
            if not asked.answers.done():
                asked.answers.set_exception(Fault("error", "the challenger's answer is garbage"))
            raise
        if not asked.answers.done():
            asked.answers.set_result(answers)

    def _expire(self, asked: _Asked, began: float, seconds: float) -> None:
        late = self._loop.time() - began - seconds
        if late > _HELD_UP and not asked.given_grace:
            # This process was held up as well, by the kernel or by itself: the answer may be in the socket,
            # which is read after timers.
            asked.given_grace = True
            asked.timer = self._loop.call_later(min(late, seconds), self._expire, asked, began, seconds)
        elif not asked.answers.done():
            asked.late = True
            self._late += 1
            asked.answers.set_exception(Fault("timeout", f"no answer within {1e3 * seconds:.0f} ms"))

    def _look_again(self) -> None:
        self._look = self._loop.call_later(_LOOK, self._check_silence, self._loop.time() + _LOOK)

    def _check_silence(self, due: float) -> None:
        now = self._loop.time()
        if now - due > _LOOK:
            # This process was held up, and maybe the machine with both: no silence counts that nobody heard.
            self._heard = now
        if self._asked and now - self._heard > SILENCE:
            self.end(f"it did not answer for {SILENCE:.0f} s")
            return
        self._look_again()


async def start(command: Sequence[str]) -> ChallengerLink:
    """Start the process that `command` names, with this process's id and its end of the socket appended.

    To be called on the main thread: the process ends with the thread that started it. Raises OSError.
    """
    return await child_process.start([*command, "--parent", str(os.getpid())], _ENVIRONMENT, ChallengerLink)

"""Copies of answered requests for the challenger to score as well: off the request's path, and rather dropped
than waited for."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from windtunnel.serving.question import Question
    from windtunnel.serving.rows import Rows

QUEUED: Final = 256
"""Copies that may wait."""
_QUEUED_BYTES: Final = 16 * 1024 * 1024
"""Bytes of them, the largest allowed request among them."""
_WINDOW: Final = 16
"""Copies that are sent at once."""
_WINDOW_ROWS: Final = 256
"""Rows of them, unless one copy alone has more."""


class Copy(NamedTuple):
    """A request that the champion has answered, and the rows that it answered to."""

    question: Question
    rows: Rows

    @property
    def nbytes(self) -> int:
        """What it takes, at most."""
        batch, matrix = self.question.batch, self.rows.matrix
        inputs = sum(tensor.nbytes for tensor in self.question.request.inputs)
        return batch.nbytes + inputs + (0 if matrix is batch.matrix else matrix.nbytes)


class ShadowCopies:
    """A queue of copies, and the one who empties it while `run` runs; on the event loop only.

    With `one_by_one` a routed request finds at most one copy before it.
    """

    def __init__(
        self,
        score: Callable[[list[Copy]], Awaitable[None]],
        dropped: Callable[[], None],
        one_by_one: bool,
    ) -> None:
        self._score = score
        self._dropped = dropped
        self.one_by_one = one_by_one
        self._queue: deque[tuple[Copy, int]] = deque()
        """Copies with their bytes."""
        self._bytes = 0
        self._wake = asyncio.Event()

    def offer(self, copy: Copy) -> None:
        """Score it when there is time."""
        size = copy.nbytes
        if len(self._queue) >= QUEUED or self._bytes + size > _QUEUED_BYTES:
            self._dropped()
            return
        self._bytes += size
        self._queue.append((copy, size))
        self._wake.set()

    async def run(self) -> None:
        """Score until cancelled."""
        while True:
            await self._wake.wait()
            await self._score(self._take())
            if not self._queue:
                self._wake.clear()

    def _take(self) -> list[Copy]:
        """The next copies."""
        taken: list[Copy] = []
        rows = 0
        most = 1 if self.one_by_one else _WINDOW
        while self._queue and len(taken) < most:
            copy, size = self._queue[0]
            if taken and rows + len(copy.rows.matrix) > _WINDOW_ROWS:
                break
            rows += len(copy.rows.matrix)
            self._bytes -= size
            taken.append(copy)
            self._queue.popleft()
        return taken

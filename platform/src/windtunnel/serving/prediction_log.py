"""Records what was answered, for the prediction log: on the event loop, in a few microseconds, and never in
the way of an answer.

Records of one model version and one hour are gathered into chunks. A chunk is sent to the writer's process
(log_keeper) and kept here until that says that it is stored. What is kept is bounded in bytes: when the
object store is away for too long, what comes is dropped and counted.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, cast

from windtunnel.prediction_log.keys import HOUR_MS
from windtunnel.prediction_log.sampling import EVERY, takes, threshold
from windtunnel.prediction_log.texts import LONGEST, brief
from windtunnel.serving.log_records import ROLE_NUMBERS, Head, chunk_payload, encoder

if TYPE_CHECKING:
    from collections.abc import Mapping

    from windtunnel.prediction_log.columns import Role
    from windtunnel.serving.log_keeper import LogKeeper
    from windtunnel.serving.log_metrics import LogMetrics
    from windtunnel.serving.model import VersionInterface
    from windtunnel.serving.question import Question
    from windtunnel.serving.rows import Rows

log = logging.getLogger(__name__)

Record = Callable[["VersionInterface", "Question", "Rows", "Sequence[float]", "Role", float], None]
"""As PredictionLog.record."""

CHUNK_BYTES: Final = 64 * 1024
"""From here on a chunk is sent."""
_CHUNK_SECONDS: Final = 0.25
"""After that it is sent whatever its size."""


class _Chunk:
    """Records of one version and one hour, still to be sent."""

    def __init__(self, version: VersionInterface, hour: int) -> None:
        self.version = version.version
        self.since = _id_prefix(hour)
        self.until = _id_prefix(hour + 1)
        self.head = encoder.encode(
            Head(
                version.lifecycle,
                version.version,
                version.digest,
                version.plan.features,
                version.plan.join_keys,
                hour,
            )
        )
        self.buffer = bytearray()
        self.records = 0
        self.rows = 0


def _id_prefix(hour: int) -> str:
    """How the first id of that hour begins; ids sort as text."""
    text = f"{hour * HOUR_MS:012x}"
    return f"{text[:8]}-{text[8:]}"


class PredictionLog:
    """On the event loop only. `most_bytes` bounds what is not stored yet."""

    def __init__(self, metrics: LogMetrics, keeper: LogKeeper, most_bytes: int) -> None:
        self._metrics = metrics
        self._keeper = keeper
        self._most = most_bytes
        self._limit = 0
        """What of 2^32 is logged; nothing before the ServedModel has been seen."""
        self._open: dict[str, _Chunk] = {}
        """By the bundle's digest."""
        self._open_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False
        metrics.buffered_bytes.set_function(self._bytes)

    def sample(self, share: float) -> None:
        """Log that share of the predictions from now on."""
        self._limit = threshold(share)
        if self._limit:
            self._keeper.start()

    def record(
        self,
        version: VersionInterface,
        question: Question,
        rows: Rows,
        answers: Sequence[float],
        role: Role,
        seconds: float,
    ) -> None:
        """Log what `version` answered to `rows`, in `seconds`. Never raises."""
        limit = self._limit
        if not limit or (limit < EVERY and not takes(question.id, limit)):
            return
        if self._closed:
            self._metrics.dropped("shutdown", len(answers))
            return
        try:
            if not self._add(version, question, rows, answers, role, seconds):
                self._metrics.dropped("buffer_full", len(answers))
        except Exception:  # whatever it is, no answer must fail for its record
            log.exception("cannot log prediction %s", question.id)
            self._metrics.dropped("unfit", len(answers))

    async def close(self, seconds: float) -> None:
        """Have all that was recorded stored, which may take so long; what comes later is dropped."""
        self._closed = True
        self._send_all()
        lost = await self._keeper.finish(seconds)
        if lost:
            self._metrics.dropped("shutdown", lost)
            log.error("%d rows of the prediction log are lost: not stored within %.0f s", lost, seconds)

    def _bytes(self) -> int:
        return self._open_bytes + self._keeper.bytes

    def _add(
        self,
        version: VersionInterface,
        question: Question,
        rows: Rows,
        answers: Sequence[float],
        role: Role,
        seconds: float,
    ) -> bool:
        """Whether there was room for it."""
        chunk = self._open.get(version.digest)
        prediction_id = question.id
        if (
            chunk is None
            or not chunk.since <= prediction_id < chunk.until
            or chunk.version != version.version
        ):
            if chunk is not None:
                self._send(version.digest)
            chunk = self._begin(version, prediction_id)
        room = self._most - self._bytes()
        if rows.matrix.nbytes > room:
            # what surely does not fit need not be tried
            return False
        buffer = chunk.buffer
        before = len(buffer)
        key = question.request.said.key
        record = (
            prediction_id,
            ROLE_NUMBERS[role],
            seconds,
            *rows.of_each(),
            question.event_time(),
            key if key is None else str(key),
            _entities(question.batch.entities, version.plan.join_keys),
            rows.matrix.tobytes(),
            answers,
        )
        try:
            encoder.encode_into(record, buffer, before)
        except Exception:
            # half a record would spoil all that come after it
            del buffer[before:]
            raise
        size = len(buffer) - before
        if size > room:
            del buffer[before:]
            return False
        self._open_bytes += size
        chunk.records += 1
        chunk.rows += len(answers)
        if len(buffer) >= CHUNK_BYTES:
            self._send(version.digest)
        return True

    def _begin(self, version: VersionInterface, prediction_id: str) -> _Chunk:
        hour = int(prediction_id[:8] + prediction_id[9:13], 16) // HOUR_MS
        chunk = self._open[version.digest] = _Chunk(version, hour)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_CHUNK_SECONDS, self._send_all)
        return chunk

    def _send_all(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for digest in list(self._open):
            self._send(digest)

    def _send(self, digest: str) -> None:
        chunk = self._open.pop(digest)
        self._open_bytes -= len(chunk.buffer)
        if chunk.records:
            self._keeper.send(chunk_payload(chunk.head, chunk.records, chunk.buffer), chunk.rows)


def _entities(
    entities: Mapping[str, Sequence[str | int]] | None, join_keys: Mapping[str, str]
) -> list[Sequence[str | int]] | None:
    """One column for each of the version's join keys; None where not all of them were asked for."""
    if entities is None or not join_keys.keys() <= entities.keys():
        return None
    return [_column(entities[name], kind) for name, kind in join_keys.items()]


def _column(values: Sequence[str | int], kind: str) -> Sequence[str | int]:
    if kind == "STRING" and max(map(len, cast("Sequence[str]", values))) > LONGEST:
        return [brief(str(value)) for value in values]
    return values

"""What the serving process and its challenger's process say to each other over their socket.

    frame    length of the payload (u32), kind (u8), id (u64); the payload
    PREDICT  to the challenger: matrices, each rows (u32), columns (u32), float64 values
    ANSWERS  back, under the same id, one for each matrix: seconds of computing (f64), well (u8), length
             (u32), then that many float64 values, or bytes of an error's message
    READY    the challenger has loaded its bundle: the bundle's manifest as JSON
    FAILED   it cannot: the error as JSON

All little-endian. The challenger's side is not trusted: whatever comes that is not this is a FrameError.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from windtunnel.errors import WindtunnelError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

FloatArray = np.ndarray[Any, np.dtype[np.float64]]

PREDICT, ANSWERS, READY, FAILED = 1, 2, 3, 4
MAX_REPLY: Final = 4 * 1024 * 1024
"""Bytes of a payload that the challenger may send; 10,000 rows take 80 kB."""
MAX_MESSAGE: Final = 500
"""Characters of an error's message."""

HEADER: Final = struct.Struct("<IBQ")
_MATRIX: Final = struct.Struct("<II")
_ANSWER: Final = struct.Struct("<dBI")
_KINDS: Final = frozenset({ANSWERS, READY, FAILED})


class FrameError(WindtunnelError):
    """The other side does not keep to this protocol."""


@dataclass(frozen=True)
class Answer:
    """What the challenger says to one matrix."""

    seconds: float
    """That it computed."""
    values: FloatArray | None
    """None when it failed."""
    message: str = ""
    """Why it failed."""


def frame(kind: int, number: int, payload: bytes) -> bytes:
    """One whole frame."""
    return HEADER.pack(len(payload), kind, number) + payload


def pack_matrices(matrices: Sequence[FloatArray]) -> bytes:
    """Payload of PREDICT."""
    parts: list[bytes] = []
    for matrix in matrices:
        parts += (_MATRIX.pack(*matrix.shape), matrix.tobytes())
    return b"".join(parts)


def unpack_matrices(payload: bytes) -> Iterator[FloatArray]:
    """The matrices of PREDICT, which may be written to no more."""
    at = 0
    while at < len(payload):
        rows, columns = _MATRIX.unpack_from(payload, at)
        at += _MATRIX.size
        yield np.frombuffer(payload, np.float64, rows * columns, at).reshape(rows, columns)
        at += 8 * rows * columns


def pack_answer(answer: Answer) -> bytes:
    """One part of the payload of ANSWERS."""
    if answer.values is not None:
        values = answer.values.tobytes()
        return _ANSWER.pack(answer.seconds, True, len(answer.values)) + values
    message = answer.message[:MAX_MESSAGE].encode("utf-8", "replace")
    return _ANSWER.pack(answer.seconds, False, len(message)) + message


def unpack_answers(payload: bytes) -> list[Answer]:
    """The parts of ANSWERS. Raises FrameError."""
    answers: list[Answer] = []
    at = 0
    while at < len(payload):
        if at + _ANSWER.size > len(payload):
            raise FrameError("an answer is cut short", where="challenger's socket")
        seconds, well, length = _ANSWER.unpack_from(payload, at)
        at += _ANSWER.size
        size = 8 * length if well else length
        if not 0 <= seconds < math.inf:
            raise FrameError("an answer took no time that exists", where="challenger's socket")
        if at + size > len(payload):
            raise FrameError("an answer is cut short", where="challenger's socket")
        if well:
            answers.append(Answer(seconds, np.frombuffer(payload, np.float64, length, at)))
        else:
            answers.append(Answer(seconds, None, payload[at : at + size].decode("utf-8", "replace")))
        at += size
    return answers


class FrameReader:
    """Cuts what the challenger sends into frames."""

    def __init__(self) -> None:
        self._received = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[int, int, bytes]]:
        """(kind, id, payload) of each frame that is complete now. Raises FrameError."""
        received = self._received
        received += data
        while len(received) >= HEADER.size:
            length, kind, number = HEADER.unpack_from(received)
            if kind not in _KINDS or length > MAX_REPLY:
                raise FrameError(
                    f"a frame of kind {kind} and {length} bytes is none of ours", where="challenger's socket"
                )
            end = HEADER.size + length
            if len(received) < end:
                return
            payload = bytes(received[HEADER.size : end])
            del received[:end]
            yield kind, number, payload

"""What the serving process and the writer of its prediction log say to each other over their socket.

    to the writer    frames: length of the payload (u32), kind (u8), number (u64); the payload
        CHUNK        records of one model version and one hour, in msgpack; numbered from 1
        END          write all that you have, then end
    back             lines of JSON: see Reply

A chunk is kept by the serving process until the writer says that it is stored: a writer that dies takes
nothing with it.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

import msgspec

from windtunnel.prediction_log.columns import ROLES

if TYPE_CHECKING:
    from windtunnel.prediction_log.columns import Role

CHUNK, END = 1, 2
HEADER: Final = struct.Struct("<IBQ")

ROLE_NUMBERS: Final[dict[Role, int]] = {role: number for number, role in enumerate(ROLES)}

_ARRAY_32: Final = struct.Struct(">BI")


class Head(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What all records of a chunk have in common."""

    lifecycle: str
    version: str
    digest: str
    features: tuple[str, ...]
    join_keys: dict[str, str]
    """Join key → Feast type."""
    hour: int
    """Hours since 1970 in which the predictions were made."""


class Record(msgspec.Struct, array_like=True, gc=False):
    """One request as one model answered it; `add` in PredictionLog encodes these fields in this order."""

    prediction_id: str
    role: int
    """Index into ROLES."""
    latency_seconds: float
    missing: int | bytes | None
    """Missing values: of the only row; int32 for each row; None: those that are NaN."""
    stale: bool | bytes | None
    """Whether one was too old: of the only row; a byte for each row; None: none was read."""
    event_time: float | None
    """Seconds since 1970."""
    key: str | None
    entities: list[list[str | int]] | None
    """For each join key, in the order of Head.join_keys, one value for each row."""
    matrix: bytes
    """float64 [rows, features], row by row; NaN where the model had to do without."""
    predictions: list[float]


class Chunk(msgspec.Struct, array_like=True, gc=False):
    """Payload of CHUNK."""

    head: Head
    records: list[Record]


class Reply(msgspec.Struct, omit_defaults=True):
    """What the writer tells."""

    stored: list[int] = []
    """Chunks that are in the object store."""
    unfit: list[int] = []
    """Chunks that no file can be made of."""
    failure: str = ""
    """Why the object store did not take a file; it is tried again."""


encoder: Final = msgspec.msgpack.Encoder()
chunk_decoder: Final = msgspec.msgpack.Decoder(Chunk)
reply_encoder: Final = msgspec.json.Encoder()
reply_decoder: Final = msgspec.json.Decoder(Reply)


def chunk_payload(head: bytes, records: int, encoded: bytearray) -> bytes:
    """A chunk of an encoded head and so many encoded records."""
    # an array of two: the head, and an array of the records
    return b"".join((b"\x92", head, _ARRAY_32.pack(0xDD, records), encoded))


def frame(kind: int, number: int, payload: bytes) -> tuple[bytes, bytes]:
    """A frame in two pieces: the payload is not copied."""
    return HEADER.pack(len(payload), kind, number), payload

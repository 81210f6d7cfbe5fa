"""The logged rows of one prediction, put together as they were answered: one batch per model version."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.errors import IntegrityError
from windtunnel.prediction_log.ids import parse_id

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from numpy.typing import NDArray

    from windtunnel.prediction_log.reading import LoggedRow

_CLOCK = timedelta(milliseconds=2)
"""How far a row's time may be from that of its id, which is cut to milliseconds."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What one model version answered to one request of N rows and F features."""

    role: str
    version: str
    digest: str
    time: datetime
    key: str | None
    event_time: datetime | None
    latency_seconds: float | None
    writer: str
    names: tuple[str, ...]
    """Of the features, in the model's order."""
    inputs: NDArray[np.float64]
    """[N, F], as the model got them; NaN where it had to do without."""
    predictions: NDArray[np.float64]
    """[N]."""
    entities: tuple[dict[str, Any] | None, ...]
    missing: tuple[int, ...]
    """Features of each row without a value of their own."""
    stale: tuple[bool | None, ...]
    object_key: str
    """The object that (the first row of) it was read from."""


def answers_of(rows: Sequence[LoggedRow]) -> list[Answer]:
    """The answers to one request, in the order of the rows. Raises IntegrityError for rows that cannot have
    been written so.
    """
    groups: dict[tuple[str, str, str], list[LoggedRow]] = {}
    for row in rows:
        groups.setdefault((row.role, row.version, row.digest), []).append(row)
    return [_answer(group) for group in groups.values()]


def _answer(group: Iterable[LoggedRow]) -> Answer:
    rows = _one_each(group)
    first = rows[0]
    names = tuple(first.features)
    for row in rows:
        _check(row, first, names)
    return Answer(
        role=first.role,
        version=first.version,
        digest=first.digest,
        time=first.time,
        key=first.key,
        event_time=first.event_time,
        latency_seconds=first.latency_seconds,
        writer=first.writer,
        names=names,
        inputs=np.array(
            [[math.nan if v is None else v for v in row.features.values()] for row in rows], np.float64
        ).reshape(len(rows), len(names)),
        predictions=np.array([row.prediction for row in rows], np.float64),
        entities=tuple(row.entities for row in rows),
        missing=tuple(row.missing for row in rows),
        stale=tuple(row.stale for row in rows),
        object_key=first.object_key,
    )


def _one_each(group: Iterable[LoggedRow]) -> list[LoggedRow]:
    """The rows from 0 on. One that was put twice, because an answer of the store was lost, counts once."""
    found: dict[int, LoggedRow] = {}
    for row in group:
        before = found.setdefault(row.row, row)
        if before is not row and _content(before) != _content(row):
            raise _odd(row, f"row {row.row} stands in the log twice, with different content")
    numbers = sorted(found)
    if numbers != list(range(len(numbers))):
        absent = next(number for number in range(len(numbers)) if number not in found)
        raise _odd(
            found[numbers[0]], f"row {absent} of the request is not in the log, but row {numbers[-1]} is"
        )
    return [found[number] for number in numbers]


def _content(row: LoggedRow) -> list[Any]:
    """All but where it lies. Floats by their bits, so that NaN equals itself."""
    return [_bits(getattr(row, one.name)) for one in fields(row) if one.name != "object_key"]


def _bits(value: Any) -> Any:
    if isinstance(value, float):
        return value.hex()
    return [(name, _bits(item)) for name, item in value.items()] if isinstance(value, dict) else value


def _check(row: LoggedRow, first: LoggedRow, names: tuple[str, ...]) -> None:
    if tuple(row.features) != names:
        raise _odd(row, f"row {row.row} has other features than row 0")
    if row.time != first.time or row.key != first.key or row.event_time != first.event_time:
        raise _odd(row, f"row {row.row} tells another time or key than row 0 of the same request")
    made = parse_id(row.prediction_id).time
    if abs(row.time - made) > _CLOCK:
        raise _odd(row, f"row {row.row} is of {row.time.isoformat()}, its id of {made.isoformat()}")
    if row.prediction is None or not math.isfinite(row.prediction):
        raise _odd(row, f"row {row.row} holds no number as prediction: {row.prediction}")


def _odd(row: LoggedRow, what: str) -> IntegrityError:
    return IntegrityError(
        what,
        where=row.object_key,
        fix="the file was changed since it was written: restore it from a backup",
    )

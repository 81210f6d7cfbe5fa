"""Where predictions lie.

    <lifecycle>/predictions/<YYYY-MM-DD>/<HH>/<writer>-<sequence>.parquet       of serving
    <lifecycle>/scores/<YYYY-MM-DD>/00/<version>-<shard>-of-<shards>-0.parquet  of batch scoring

Day and hour are UTC, those of the prediction itself: they follow from its id (see ids). A batch prediction's
moment is midnight of the day that it is about.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

PREDICTIONS: Final = "predictions"
SCORES: Final = "scores"
HOUR_MS: Final = 3_600_000
"""Milliseconds of an hour."""

_UNSAFE: Final = re.compile(r"[^A-Za-z0-9.-]")
_WRITER_LENGTH: Final = 100


def hour_folder(lifecycle: str, moment: datetime, folder: str = PREDICTIONS) -> str:
    """The folder of the hour that `moment` lies in."""
    return f"{lifecycle}/{folder}/{moment.astimezone(UTC):%Y-%m-%d/%H}"


def hour_folders(lifecycle: str, start: datetime, end: datetime, folder: str = PREDICTIONS) -> Iterator[str]:
    """The folders of predictions made from `start` until before `end`, in order."""
    hour = start.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    while hour < end:
        yield hour_folder(lifecycle, hour, folder)
        hour += timedelta(hours=1)


def object_key(lifecycle: str, hour: int, writer: str, sequence: int) -> str:
    """The key of one file; `hour` in hours since 1970."""
    moment = datetime.fromtimestamp(hour * 3600, UTC)
    return f"{hour_folder(lifecycle, moment)}/{writer}-{sequence:08d}.parquet"


def writer_name(host: str, start: int) -> str:
    """A name for one life of a process on `host`, with nothing in it that a key must not hold.

    `start` tells the lives apart: a container that is started again keeps its host's name.
    """
    return f"{_UNSAFE.sub('-', host)[:_WRITER_LENGTH]}-{start:x}"

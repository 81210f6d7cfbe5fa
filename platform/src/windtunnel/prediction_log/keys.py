"""Where predictions lie.

    <lifecycle>/predictions/<YYYY-MM-DD>/<HH>/<writer>-<sequence>-<bundle>.parquet       of serving
    <lifecycle>/scores/<YYYY-MM-DD>/00/<version>-<shard>-of-<shards>-<bundle>.parquet    of batch scoring

Day and hour are UTC, those of the prediction itself: they follow from its id (see ids). A batch prediction's
moment is midnight of the day that it is about. `bundle` is how the digest of the bundle begins that answered:
a file is of one, and who lists the log knows all bundles that it needs.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from windtunnel.digests import hex_of

if TYPE_CHECKING:
    from collections.abc import Iterator

PREDICTIONS: Final = "predictions"
SCORES: Final = "scores"
HOUR_MS: Final = 3_600_000
"""Milliseconds of an hour."""

SHORT: Final = 16
"""Digits of a bundle's digest in a file's name."""

_BUNDLE: Final = re.compile(rf"-([0-9a-f]{{{SHORT}}})\.parquet$")
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


def object_key(lifecycle: str, hour: int, writer: str, sequence: int, digest: str) -> str:
    """The key of one file; `hour` in hours since 1970, `digest` that of the bundle."""
    moment = datetime.fromtimestamp(hour * 3600, UTC)
    return f"{hour_folder(lifecycle, moment)}/{writer}-{sequence:08d}-{short(digest)}.parquet"


def short(digest: str) -> str:
    """How a bundle is called in the name of a file."""
    return hex_of(digest)[:SHORT]


def bundle_of(key: str) -> str | None:
    """The `short` digest of the bundle whose answers a file holds; None when its name does not tell."""
    found = _BUNDLE.search(key)
    return found[1] if found else None


def writer_name(host: str, start: int) -> str:
    """A name for one life of a process on `host`, with nothing in it that a key must not hold.

    `start` tells the lives apart: a container that is started again keeps its host's name.
    """
    return f"{_UNSAFE.sub('-', host)[:_WRITER_LENGTH]}-{start:x}"

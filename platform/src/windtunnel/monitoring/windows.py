"""Windows of the prediction log: which predictions a monitor run looks at.

By time (the last `monitoring.window`, or from `start` to `end` as asked) or by count (the newest
`monitoring.rows`). Labels come late, so without a `start` the log is also read as far back as they may be on
their way, and where they are later than that, as far back as the newest that have all come. Rows of a window
are bounded: of more than MOST only a share is kept, chosen by id as the log's own sampling does, so that a
prediction's rows stay together.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from windtunnel.errors import RequestError
from windtunnel.monitoring.measures import series_of
from windtunnel.prediction_log import columns
from windtunnel.prediction_log.keys import PREDICTIONS, SCORES
from windtunnel.prediction_log.reading import scan
from windtunnel.prediction_log.sampling import EVERY
from windtunnel.spec.monitoring import FARTHEST

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import date

    from windtunnel.monitoring.measures import Folder, Series
    from windtunnel.objects import ObjectStore
    from windtunnel.spec.lifecycle import LifecycleSpec

MOST: Final = 1_000_000
"""Rows that are looked at; shares are known to a tenth of a point from far fewer."""
ANSWERED: Final = ("champion", "challenger", "fallback", "batch")
"""Roles whose answers callers got: a shadow's went to nobody."""
DAY: Final = timedelta(days=1)
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}")
_READ: Final = (
    columns.PREDICTION_ID, columns.ROW, columns.TIME, columns.VERSION, columns.DIGEST, columns.ROLE,
    columns.KEY, columns.ENTITIES, columns.EVENT_TIME, columns.FEATURES, columns.MISSING, columns.STALE,
    columns.PREDICTION, columns.LATENCY_SECONDS,
)  # fmt: skip


@dataclass(frozen=True)
class Asked:
    """What a run is asked to look at."""

    start: datetime
    end: datetime
    labels_start: datetime
    """From when on predictions are looked at whose labels may have come: `start` or earlier."""
    rows: int | None
    """The newest so many before `end`, however old; None: by time."""
    folder: Folder
    version: str | None
    """None: the champion."""
    continues: bool
    """Whether this is one of the windows in a row that end about now: one of the past stands for itself."""

    @property
    def series(self) -> Series:
        return series_of(self.folder, continues=self.continues)


@dataclass(frozen=True)
class Logged:
    """Rows that callers got, by the digest of the bundle that answered; `share` of them was kept."""

    frames: dict[str, pl.DataFrame]
    share: float


def asked(params: Mapping[str, Any], spec: LifecycleSpec, now: datetime) -> Asked:
    """From a request's params: `start` and `end` (moments in ISO format; not after now), `version`, `folder`.
    Raises RequestError.
    """
    end = min(_moment(params, "end") or now, now)
    given = _moment(params, "start")
    start = given or end - spec.monitoring.window
    if start >= end:
        raise RequestError(
            f"the window would end ({end.isoformat()}) before it begins ({start.isoformat()})",
            where="params",
            fix="let start be earlier than end",
        )
    named = str(params.get("folder") or PREDICTIONS)
    if named not in (PREDICTIONS, SCORES):
        raise RequestError(
            f"there is no log {named!r}", where="params", fix=f"choose {PREDICTIONS} or {SCORES}"
        )
    folder: Folder = "scores" if named == SCORES else "predictions"
    version = str(params.get("version") or "")
    return Asked(
        start=start,
        end=end,
        labels_start=start if given else start - spec.label.on_their_way,
        rows=None if given else spec.monitoring.rows,
        folder=folder,
        version=version or None,
        continues=given is None and not version and now - end <= spec.monitoring.window,
    )


def back_to_labels(window: Asked, complete: date | None) -> Asked:
    """The window, with the log read back to a window's length before `complete`, the newest day whose labels
    have all come. Not where that is FARTHEST farther: what is predicted today about days of long ago has its
    labels anyway.
    """
    if complete is None or window.labels_start == window.start:
        return window
    midnight = datetime(complete.year, complete.month, complete.day, tzinfo=UTC)
    start = midnight - (window.end - window.start)
    if start < window.labels_start - FARTHEST:
        return window
    return replace(window, labels_start=min(window.labels_start, start))


def read_window(store: ObjectStore, lifecycle: str, window: Asked, digest: str) -> tuple[Asked, Logged]:
    """The rows from `labels_start` on; a window by count gets the start that its rows of `digest` have.

    Raises DataError for a file that is none of the log's, StoreError.
    """
    if window.rows is None:
        frames = _scan(store, lifecycle, window, window.labels_start, window.end, _READ)
        return window, _gather(frames, window.folder)
    start = _start_by_count(store, lifecycle, window, digest)
    chosen = replace(window, start=start, labels_start=start - (window.start - window.labels_start))
    return chosen, _gather(
        _scan(store, lifecycle, chosen, chosen.labels_start, chosen.end, _READ), window.folder
    )


def _start_by_count(store: ObjectStore, lifecycle: str, window: Asked, digest: str) -> datetime:
    """When the oldest of the newest `window.rows` rows of a bundle was answered; of fewer the oldest that
    FARTHEST back there is, and of none the start that the window would have by time.
    """
    wanted = (columns.TIME, columns.DIGEST, columns.ROLE)
    times = pl.Series(dtype=pl.Datetime("us", "UTC"))
    for day in reversed(_days(store, lifecycle, window)):
        if day < window.end - FARTHEST or len(times) >= (window.rows or 0):
            break
        for frame in _scan(store, lifecycle, window, day, min(window.end, day + DAY), wanted):
            mine = frame.filter(_wanted(window.folder) & (pl.col(columns.DIGEST) == digest))
            times = pl.concat([times, mine[columns.TIME]])
    newest = times.top_k(window.rows or 0)
    oldest: Any = newest.min()
    return window.start if oldest is None else oldest


def current(rows: pl.DataFrame, window: Asked) -> pl.DataFrame:
    """Those of the window itself, without what was read for labels only."""
    return rows.filter(pl.col(columns.TIME) >= window.start)


def moments(rows: pl.DataFrame) -> pl.Series:
    """What each row is about (UTC): its event time, or when it was asked."""
    return rows.select(
        pl.coalesce(pl.col(columns.EVENT_TIME).cast(pl.Datetime("us", "UTC")), columns.TIME)
    ).to_series()


def _moment(params: Mapping[str, Any], name: str) -> datetime | None:
    value = params.get(name)
    if not value:
        return None
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        raise RequestError(
            f"{name!r} is {value!r}, not a moment", where="params", fix="write it as in 2013-02-01T00:00:00Z"
        ) from None
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def _days(store: ObjectStore, lifecycle: str, window: Asked) -> list[datetime]:
    """Midnights of the days that have predictions, in order."""
    names = store.folders(f"{lifecycle}/{window.folder}")
    return [datetime.fromisoformat(name).replace(tzinfo=UTC) for name in names if _DATE.fullmatch(name)]


def _scan(
    store: ObjectStore,
    lifecycle: str,
    window: Asked,
    start: datetime,
    end: datetime,
    wanted: Sequence[str],
) -> Iterator[pl.DataFrame]:
    """As prediction_log.scan, without asking for the hours of days that have nothing: years may be."""
    for day in _days(store, lifecycle, window):
        first, last = max(start, day), min(end, day + DAY)
        if first < last:
            yield from scan(store, lifecycle, first, last, wanted, window.folder)


def _gather(frames: Iterable[pl.DataFrame], folder: str) -> Logged:
    found: dict[str, list[pl.DataFrame]] = {}
    limit, total = EVERY, 0
    for frame in frames:
        part = _kept(frame.filter(_wanted(folder)), limit)
        total += part.height
        found.setdefault(frame[columns.DIGEST][0], []).append(part)
        while total > MOST:
            limit //= 2
            found = {name: [_kept(part, limit) for part in parts] for name, parts in found.items()}
            total = sum(part.height for parts in found.values() for part in parts)
    # a file that was put twice, because an answer of the store was lost, counts once
    whole = {
        name: pl.concat(parts, how="vertical_relaxed")
        .unique([columns.PREDICTION_ID, columns.ROW, columns.ROLE], keep="first", maintain_order=True)
        .sort(columns.TIME, maintain_order=True)
        for name, parts in found.items()
    }
    return Logged({name: rows for name, rows in whole.items() if rows.height}, limit / EVERY)


def _wanted(folder: str) -> pl.Expr:
    batch = pl.col(columns.ROLE) == "batch"
    return batch if folder == SCORES else pl.col(columns.ROLE).is_in(ANSWERED) & ~batch


def _kept(frame: pl.DataFrame, limit: int) -> pl.DataFrame:
    """As prediction_log.sampling.takes, for many: the last 32 bits of an id are random."""
    if limit >= EVERY:
        return frame
    number = pl.col(columns.PREDICTION_ID).str.slice(-8).str.to_integer(base=16, dtype=pl.Int64, strict=False)
    return frame.filter(number.fill_null(0) < limit)

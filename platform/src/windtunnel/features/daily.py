"""Daily files in the object store: clean partitions, and the feature rows of a view.

`<prefix>/<date>.parquet` with a sidecar `<prefix>/<date>.json` that says what is in it and what it was made
of. The sidecar is written last, so a file without one was not finished and counts as absent.
"""

from __future__ import annotations

import io
import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import polars as pl

from windtunnel.digests import canonical_json, digest
from windtunnel.errors import DataError, IntegrityError, NotFoundError, RequestError, TemporaryError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from windtunnel.objects import ObjectStore
    from windtunnel.spec.stages import Reference

# How long to wait for the sidecar of a file that is being written.
_PAUSES_SECONDS = (0.05, 0.2, 0.5, 1.0)

Item = TypeVar("Item")
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Sidecar:
    """`digest` names the parquet's bytes; it is empty for a day whose raw partition could not be read."""

    digest: str
    rows: int
    bytes: int
    input: str
    """Digest of what the file was made of: when it is the same again, so is the file."""
    quarantined: int = 0

    @property
    def present(self) -> bool:
        return bool(self.digest)


class DailyFiles:
    """The daily files below one prefix."""

    def __init__(self, store: ObjectStore, prefix: str) -> None:
        self.store = store
        self.prefix = prefix

    def key(self, day: date) -> str:
        return f"{self.prefix}/{day}.parquet"

    def sidecar(self, day: date) -> Sidecar | None:
        try:
            return Sidecar(**json.loads(self.store.get(f"{self.prefix}/{day}.json")))
        except NotFoundError:
            return None

    def sidecars(self, days: Iterable[date]) -> dict[date, Sidecar]:
        """Of the days that have a file, in order."""
        asked = sorted(days)
        found = zip(asked, at_once(self.sidecar, asked), strict=True)
        return {day: sidecar for day, sidecar in found if sidecar and sidecar.present}

    def known_days(self) -> set[date]:
        """Days that have a sidecar; one listing, nothing is read."""
        names = (entry.key.rpartition("/")[2] for entry in self.store.list(self.prefix))
        return {date.fromisoformat(name.removesuffix(".json")) for name in names if name.endswith(".json")}

    def available(self, days: Iterable[date]) -> dict[date, Sidecar]:
        """As `sidecars`, but asks only for those that a listing names: for many days of which few exist."""
        return self.sidecars(self.known_days() & set(days))

    def unchanged(self, day: date, made_of: str) -> Sidecar | None:
        """The sidecar of a day that was made of just this and whose file is there; else None."""
        sidecar = self.sidecar(day)
        if sidecar is None or sidecar.input != made_of:
            return None
        return sidecar if not sidecar.present or self.store.exists(self.key(day)) else None

    def write(self, day: date, frame: pl.DataFrame, made_of: str, quarantined: int = 0) -> Sidecar:
        data = to_parquet(frame)
        self.store.put(self.key(day), data)
        return self._seal(day, Sidecar(digest(data), frame.height, len(data), made_of, quarantined))

    def write_unreadable(self, day: date, made_of: str) -> Sidecar:
        """Remember that this day has no rows, because what it is made of cannot be read."""
        self.store.delete(self.key(day))
        return self._seal(day, Sidecar("", 0, 0, made_of))

    def _seal(self, day: date, sidecar: Sidecar) -> Sidecar:
        self.store.put(f"{self.prefix}/{day}.json", canonical_json(asdict(sidecar)))
        return sidecar

    def read_current(self, day: date, sidecar: Sidecar) -> tuple[bytes, Sidecar]:
        """The parquet's bytes, and the sidecar that names them: another one than given when the day was
        written anew since. A day that went into quarantine has no bytes, and a sidecar that says so.

        Raises IntegrityError when the file is not what its sidecar names, TemporaryError when the day is
        written faster than it is read.
        """
        first = sidecar
        for pause in (*_PAUSES_SECONDS, 0.0):
            data = self._get(day)
            if digest(data) == sidecar.digest or not (data or sidecar.present):
                return data, sidecar
            # A file is written before its sidecar, so for a moment the two may differ.
            time.sleep(pause)
            sidecar = self.sidecar(day) or sidecar
        if sidecar == first:
            raise IntegrityError(
                "the file is not what its sidecar names",
                where=self.store.uri(self.key(day)),
                fix="run the stage that writes it again with force",
            )
        raise self._written_anew(day)

    def read_bytes(self, day: date, sidecar: Sidecar) -> bytes:
        """The parquet's bytes that the sidecar names; as `read_current`, and raises TemporaryError also when
        the day was written anew.
        """
        data, current = self.read_current(day, sidecar)
        if current.digest != sidecar.digest:
            raise self._written_anew(day)
        return data

    def _get(self, day: date) -> bytes:
        try:
            return self.store.get(self.key(day))
        except NotFoundError:
            return b""

    def _written_anew(self, day: date) -> TemporaryError:
        return TemporaryError(
            "the day was written anew while it was read", where=self.store.uri(self.key(day)), fix="try again"
        )

    def read(self, day: date, sidecar: Sidecar) -> pl.DataFrame:
        return pl.read_parquet(self.read_bytes(day, sidecar))

    def rows(self, days: Iterable[date]) -> pl.DataFrame:
        """Rows of the days; when all are in quarantine none, but with the columns of another day."""
        frames = at_once(lambda item: self.read(*item), list(self.sidecars(days).items()))
        # A column that one day lacks is null there; the schema says which columns may be.
        return pl.concat(frames, how="diagonal_relaxed") if frames else self.no_rows()

    def no_rows(self) -> pl.DataFrame:
        """The columns of the newest readable day; raises DataError when there is none."""
        for day in sorted(self.known_days(), reverse=True):
            sidecar = self.sidecar(day)
            if sidecar and sidecar.present:
                return self.read(day, sidecar).clear()
        raise DataError(
            "no day can be read", where=self.store.uri(self.prefix), fix="run the stage before this one"
        )


def at_once(ask: Callable[[Item], Answer], items: list[Item]) -> list[Answer]:
    """The answers in order; an object store answers several small questions in the time of one."""
    with ThreadPoolExecutor(max_workers=8) as pool:
        return list(pool.map(ask, items))


def in_groups(sidecars: Mapping[date, Sidecar], size: int) -> Iterator[dict[date, Sidecar]]:
    """The days in their order, in groups of at most `size` bytes of files; a larger day stands alone."""
    group: dict[date, Sidecar] = {}
    used = 0
    for day, sidecar in sidecars.items():
        if group and used + sidecar.bytes > size:
            yield group
            group, used = {}, 0
        group[day] = sidecar
        used += sidecar.bytes
    if group:
        yield group


def partitions_of(store: ObjectStore, lifecycle: str, source: str) -> DailyFiles:
    return DailyFiles(store, f"{lifecycle}/partitions/{source}")


def feature_rows_of(store: ObjectStore, lifecycle: str, view: str) -> DailyFiles:
    return DailyFiles(store, f"{lifecycle}/features/{view}")


def day_of(params: Mapping[str, Any], name: str) -> date:
    """The ISO date of that name in a request's params or a result's meta; raises RequestError."""
    try:
        return date.fromisoformat(str(params[name]))
    except (KeyError, ValueError) as error:
        raise RequestError(
            f"{name!r} is {params.get(name)!r}, not a day", where="params", fix="write it as in 2013-01-31"
        ) from error


def days_of(params: Mapping[str, Any]) -> list[date]:
    """The days from `start` to `end` of a request's params or a result's meta."""
    return days_between(day_of(params, "start"), day_of(params, "end"))


def days_between(start: date, end: date) -> list[date]:
    """Both ends included; raises DataError when there is no day."""
    if end < start:
        raise DataError(
            f"there is no day from {start} to {end}", where="params", fix="let end be start or later"
        )
    return [start + timedelta(days=count) for count in range((end - start).days + 1)]


def span(days: Iterable[date]) -> str:
    """Days in few words: `2013-01-01, 2013-01-03..2013-01-05`."""
    runs: list[list[date]] = []
    for day in sorted(days):
        if runs and day - runs[-1][-1] == timedelta(days=1):
            runs[-1].append(day)
        else:
            runs.append([day])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}..{run[-1]}" for run in runs)


def still_those(output: Reference, files: Mapping[str, DailyFiles]) -> bool:
    """Whether the files (by source or view) are still those of a result over a slice of days, and not of a
    run with other code since.
    """
    days = days_of(output.meta)
    return digest_of({name: group.sidecars(days) for name, group in files.items()}) == output.digest


def digest_of(sidecars: dict[str, dict[date, Sidecar]]) -> str:
    """One digest over files by group (source or view) and day."""
    names = {
        group: {str(day): item.digest for day, item in items.items()} for group, items in sidecars.items()
    }
    return digest(canonical_json(names))


def to_parquet(frame: pl.DataFrame) -> bytes:
    """Equal frames give equal bytes."""
    buffer = io.BytesIO()
    frame.write_parquet(buffer, compression="zstd", statistics=True)
    return buffer.getvalue()

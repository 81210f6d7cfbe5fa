"""What lies in the object store of one lifecycle, in units that stay or go as a whole."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import TYPE_CHECKING, Final, Literal

from windtunnel.objects import is_key
from windtunnel.prediction_log.keys import bundle_of
from windtunnel.spec.log_keys import dag_folder
from windtunnel.spec.stages import DAGS, RETAIN_DAG, retain_task

if TYPE_CHECKING:
    from collections.abc import Iterator

    from windtunnel.objects import Entry, ObjectStore

Kind = Literal[
    "bundles",
    "snapshots",
    "records",
    "logs",
    "cache",
    "reports",
    "predictions",
    "scores",
    "partitions",
    "features",
    "other",
]

_DAY = r"(?P<day>\d{4}-\d\d-\d\d)"
# A unit is named by what the pattern matches: a folder, when that ends with a slash; else what its keys begin
# with. Bundles, snapshots and cached results are named by digests.
_PLACES: Final[tuple[tuple[Kind, re.Pattern[str]], ...]] = (
    ("bundles", re.compile(r"bundles/[0-9a-f]{64}/(?=[^/]+$)")),
    ("snapshots", re.compile(r"snapshots/[0-9a-f]{64}/(?=[^/]+$)")),
    ("records", re.compile(r"runs/[^/]+/(?=[^/]+\.json$)")),
    ("records", re.compile(r"scoring/[^/]+\.json$")),
    ("cache", re.compile(r"cache/\w+/[0-9a-f]{64}\.json$")),
    ("reports", re.compile(r"measures/[^/]+\.html$")),
    ("predictions", re.compile(rf"predictions/{_DAY}/\d\d/(?=[^/]+\.parquet$)")),
    ("scores", re.compile(rf"scores/{_DAY}/\d\d/(?=[^/]+\.parquet$)")),
    ("partitions", re.compile(rf"(?:partitions|quarantine)/\w+/{_DAY}\.(?=(?:parquet|json)$)")),
    ("features", re.compile(rf"features/\w+/{_DAY}\.(?=(?:parquet|json)$)")),
)


@dataclass
class Unit:
    """Objects that stay or go together."""

    kind: Kind
    place: str
    """What all keys begin with; a folder when it ends with a slash."""
    newest: datetime
    """When the last of them was written."""
    day: date | None = None
    """The day that they are about."""
    bytes: int = 0
    objects: int = 0
    keys: list[str] = field(default_factory=list)
    """Of what is no folder; those of a folder are listed again when they go."""
    tells: set[str] = field(default_factory=set)
    """What the names of its objects tell: of records and logs the stages and the DAG that they are of; of
    predictions and scores the bundles that answered, as `prediction_log.keys.short` calls them, and empty
    where a name tells of none."""

    @property
    def name(self) -> str:
        """The last segment of its place: the digest of a bundle or a snapshot."""
        return self.place.rstrip("/").rpartition("/")[2]

    @property
    def group(self) -> str:
        """The folder that it lies in, with others of its like: the partitions of one source."""
        return self.place.rstrip("/").rpartition("/")[0]

    def add(self, entry: Entry) -> None:
        self.newest = max(self.newest, entry.modified)
        self.bytes += entry.size
        self.objects += 1
        if not self.place.endswith("/"):
            self.keys.append(entry.key)
        if self.kind in ("predictions", "scores"):
            self.tells.add(bundle_of(entry.key) or "")
        elif self.kind == "records":
            self.tells.add(entry.key.rpartition("/")[2].partition(".")[0])
        elif self.kind == "logs":
            self.tells.add(entry.key.split("/")[1])


def contents(store: ObjectStore, lifecycle: str) -> list[Unit]:
    """Everything below the lifecycle's folder, and its task logs; `other` is one unit. Memory goes with the
    number of units: an hour of predictions is one. Raises StoreError.
    """
    units: dict[tuple[Kind, str], Unit] = {}
    for kind, place, day, entry in _placed(store, lifecycle):
        unit = units.get((kind, place))
        if unit is None:
            unit = units[kind, place] = Unit(kind, place, entry.modified, day)
        unit.add(entry)
    return list(units.values())


def belongs(key: str, unit: Unit, lifecycle: str) -> bool:
    """Whether an object is part of a unit, and not somebody's own file beside it."""
    own = f"{lifecycle}/"
    if unit.kind == "logs":
        return is_key(key) and key.startswith(unit.place)
    return is_key(key) and _place(key.removeprefix(own), own)[:2] == (unit.kind, unit.place)


def _placed(store: ObjectStore, lifecycle: str) -> Iterator[tuple[Kind, str, date | None, Entry]]:
    own = f"{lifecycle}/"
    for entry in store.each(lifecycle):
        place = _place(entry.key.removeprefix(own), own) if is_key(entry.key) else ("other", own, None)
        yield *place, entry
    for folder, task in _log_folders(lifecycle):
        for entry in store.each(folder):
            run, _, rest = entry.key.removeprefix(f"{folder}/").partition("/")
            if rest and rest.startswith(task) and is_key(entry.key):
                yield "logs", f"{folder}/{run}/{task}", None, entry


def _place(key: str, own: str) -> tuple[Kind, str, date | None]:
    for kind, pattern in _PLACES:
        if found := pattern.match(key):
            try:
                day = date.fromisoformat(found["day"]) if "day" in pattern.groupindex else None
            except ValueError:
                break  # the 31st of February: nobody of ours wrote that
            return kind, own + found[0], day
    return "other", own, None


def _log_folders(lifecycle: str) -> list[tuple[str, str]]:
    """Where task logs of the lifecycle are, and what follows on the folder of a run."""
    own = [(dag_folder(f"{lifecycle}__{dag}"), "") for dag in DAGS]
    return [*own, (dag_folder(RETAIN_DAG), f"task_id={retain_task(lifecycle)}/")]

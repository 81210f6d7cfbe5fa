"""Feature rows in parquet files: a file, a directory, a glob or an S3 URI, as one lazy frame.

Storage order is files by name, rows as they stand. Only files that can hold rows of the asked window are
opened, as far as names say what is in them:

- `<ISO day>.parquet` with a sidecar `<ISO day>.json` is what `transform` wrote for that day: its rows are
  dated from `DAY_BEGINS` before to `LATEST` after that day's midnight;
- `<ISO day>_<number>_<digest>.parquet` is what `offline_write` wrote: rows of that UTC day.

Of all others the statistics in the files decide. Files may differ in the order of their columns, lack some
(null there), and store a column in different types, which then become the smallest type that holds them all.
"""

from __future__ import annotations

import glob
import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from windtunnel.errors import DataError, NotFoundError, StoreError
from windtunnel.features.definitions import LATEST
from windtunnel.features.feature_rows import DAY_BEGINS
from windtunnel.features.offline.column_types import as_type, merged_schema
from windtunnel.objects import open_store

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from windtunnel.features.offline.place import Place

_NAME = re.compile(r"(\d{4}-\d\d-\d\d)(_\d{6,}_[0-9a-f]{16})?\.parquet")
_DAY = timedelta(days=1)
_STORE_FAILED = re.compile(r"object.?store|http|connect|timed? ?out|status|retries", re.IGNORECASE)


def scan(
    place: Place,
    columns: Sequence[str] | None = None,
    first: datetime | None = None,
    last: datetime | None = None,
) -> pl.LazyFrame:
    """The rows in storage order, without the files that cannot hold rows of [first, last].

    Rows outside the window may be among them. `columns` are those that must be there (None: all that there
    are). Raises NotFoundError when there is no file, DataError for a file or columns that cannot be read.
    """
    rows = find(place, first, last).rows
    if columns is None:
        return rows
    known = rows.collect_schema().names()
    for column in columns:
        if column not in known:
            raise DataError(
                f"there is no column {column!r}",
                where=place.uri,
                fix=f"the files have {', '.join(known) or 'none'}",
            )
    return rows.select(columns)


@dataclass(frozen=True)
class Found:
    rows: pl.LazyFrame
    bounded: bool
    """The names of all files say which days they hold, so little is read in vain."""


def find(place: Place, first: datetime | None, last: datetime | None) -> Found:
    """As `scan`, for those who look at the columns themselves."""
    listing = list_files(place)
    reach = {name: _reach(name, listing.sidecars) for name in listing.files}
    chosen = [name for name in listing.files if _meets(reach[name], first, last)]
    with reading(place):
        # When no file can hold such rows, the newest one says what the columns are.
        rows = _one_frame(chosen or listing.files[-1:], place)
        rows = rows if chosen else rows.head(0)
        rows.collect_schema()
    return Found(rows, all(reach[name] for name in chosen))


@contextmanager
def reading(place: Place) -> Iterator[None]:
    """What polars raises when files cannot be read becomes one of our errors."""
    try:
        yield
    except FileNotFoundError as error:
        raise NotFoundError("a file is gone", where=place.uri) from error
    except (pl.exceptions.PolarsError, OSError) as error:
        text = str(error).partition("\n")[0]
        if place.remote and _STORE_FAILED.search(str(error)):
            raise StoreError(f"the object store failed: {text}", where=place.uri) from error
        raise DataError(f"it cannot be read as parquet: {text}", where=place.uri) from error


@dataclass(frozen=True)
class Listing:
    files: list[str]
    """Parquet files in storage order."""
    sidecars: frozenset[str]
    """Names of the JSON files beside them."""


def list_files(place: Place) -> Listing:
    """What is there; raises NotFoundError when there is no parquet file."""
    found = _remote_files(place) if place.remote else _local_files(place.path)
    if not found.files:
        raise NotFoundError("there are no parquet files", where=place.uri, fix="check the source's path")
    return found


def _local_files(path: str) -> Listing:
    root = Path(path)
    if root.is_dir():
        names = (file for file in root.rglob("*") if not _hidden(file.relative_to(root).parts))
        return _listing(str(file) for file in names)
    if root.is_file():
        return Listing([path], frozenset())
    # Path.glob takes no absolute pattern.
    files = sorted(name for name in glob.glob(path, recursive=True) if Path(name).is_file())  # noqa: PTH207
    folders = {Path(name).parent for name in files}
    return Listing(files, frozenset(str(file) for folder in folders for file in folder.glob("*.json")))


def _remote_files(place: Place) -> Listing:
    # Not as a URL: `?` and `#` would begin its query and its fragment.
    bucket, _, path = place.uri.removeprefix("s3://").partition("/")
    bucket, path = f"s3://{bucket}", path.lstrip("/")
    fixed = re.split(r"[*?\[]", path, maxsplit=1)[0]
    folder = path if fixed == path and not path.endswith(".parquet") else fixed.rpartition("/")[0]
    keys = [entry.key for entry in open_store(bucket, place.environment()).list(folder)]
    if fixed != path:
        pattern = _pattern(path)
        keys = [key for key in keys if pattern.fullmatch(key) or key.endswith(".json")]
    elif path.endswith(".parquet"):
        keys = [key for key in keys if key == path or key.startswith(path + "/")]
    else:
        keys = [key for key in keys if not _hidden(key.removeprefix(folder).split("/"))]
    return _listing(f"{bucket}/{key}" for key in keys)


def _listing(names: Iterable[str]) -> Listing:
    known = sorted(names)
    return Listing(
        [name for name in known if name.endswith(".parquet")],
        frozenset(name for name in known if name.endswith(".json")),
    )


def _hidden(parts: Sequence[str]) -> bool:
    """What Spark, pyarrow and others leave out: `_temporary`, `.crc`."""
    return any(part.startswith((".", "_")) for part in parts)


def _pattern(path: str) -> re.Pattern[str]:
    """A glob as a regular expression: `*` stays in its folder, `**/` does not."""
    try:
        return re.compile(re.sub(r"(\*\*/|\*\*|\*|\?|\[!?\w[\w-]*\])|(.)", _meaning, path))
    except re.error as error:
        raise DataError(f"{path!r} is no glob: {error}", where="offline store") from error


def _meaning(part: re.Match[str]) -> str:
    known = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    mark = part[1]
    return known.get(mark, mark.replace("!", "^")) if mark else re.escape(part[2])


def _reach(name: str, sidecars: frozenset[str]) -> tuple[datetime, datetime] | None:
    """The first and the last event timestamp that can be in a file of that name; None for any."""
    found = _NAME.fullmatch(name.rpartition("/")[2])
    try:
        midnight = datetime.combine(date.fromisoformat(found[1]), time(), UTC) if found else None
    except ValueError:
        return None
    if not found or not midnight:
        return None
    if found[2]:
        return midnight, midnight + _DAY - timedelta(microseconds=1)
    ours = name.removesuffix(".parquet") + ".json" in sidecars
    return (midnight + DAY_BEGINS, midnight + LATEST) if ours else None


def _meets(reach: tuple[datetime, datetime] | None, first: datetime | None, last: datetime | None) -> bool:
    return not reach or not ((first and reach[1] < first) or (last and reach[0] > last))


def _one_frame(files: list[str], place: Place) -> pl.LazyFrame:
    options = place.options()
    # Columns that stand in the path, as Hive, Spark and pyarrow write them.
    hive = any("=" in part for part in Path(files[0].removeprefix(place.path)).parts)

    def scan_files(names: list[str]) -> pl.LazyFrame:
        return pl.scan_parquet(
            names, glob=False, hive_partitioning=hive, storage_options=options,
            credential_provider=None if options else "auto",
        )  # fmt: skip

    if place.remote:
        with ThreadPoolExecutor(max_workers=8) as pool:
            schemas = list(pool.map(lambda name: dict(scan_files([name]).collect_schema()), files))
    else:
        schemas = [dict(scan_files([name]).collect_schema()) for name in files]
    merged = merged_schema(dict(zip(files, schemas, strict=True)))
    frames = []
    for names, schema in _runs(files, schemas):
        rows = scan_files(names)
        if list(schema.items()) != list(merged.items()):
            rows = rows.select(
                as_type(name, schema[name], dtype) if name in schema else pl.lit(None, dtype).alias(name)
                for name, dtype in merged.items()
            )
        frames.append(rows)
    return frames[0] if len(frames) == 1 else pl.concat(frames)


def _runs(
    files: list[str], schemas: list[dict[str, pl.DataType]]
) -> Iterator[tuple[list[str], dict[str, pl.DataType]]]:
    """Neighbours with the same columns in the same order."""
    pairs = zip(files, schemas, strict=True)
    for schema, run in groupby(pairs, key=lambda pair: list(pair[1].items())):
        yield [name for name, _ in run], dict(schema)

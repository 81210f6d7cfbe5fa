"""Windows in which nothing has changed, of the kinds that alarm where they should not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from tests.bench.drift import world

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@dataclass(frozen=True)
class Sample:
    """Rows with the day and the season of each, where they have one."""

    frame: pl.DataFrame
    blocks: pl.Series | None = None
    seasons: pl.Series | None = None


@dataclass(frozen=True)
class Quiet:
    """A kind of reference, and so many windows of the same process."""

    name: str
    windows: int
    make: Callable[[np.random.Generator], tuple[Sample, Callable[[], Sample]]]
    references: int = 5
    """How many references the windows are spread over: luck of one reference is not luck of the method."""

    def pairs(self, windows: int, seed: int) -> Iterator[tuple[Sample, list[Sample]]]:
        """References, each with its share of `windows` windows."""
        references = min(self.references, windows)
        for number in range(references):
            random = np.random.default_rng([seed, number, *self.name.encode()])
            reference, draw = self.make(random)
            yield reference, [draw() for _ in range(number, windows, references)]


def _independent(reference: int, window: int, text: bool = False, days: int = 0) -> Callable[..., object]:
    def make(random: np.random.Generator) -> tuple[Sample, Callable[[], Sample]]:
        def draw(rows: int, of_days: int) -> Sample:
            return Sample(world.rows(random, rows, text), world.blocks(rows, of_days) if of_days else None)

        return draw(reference, days * 10), lambda: draw(window, days)

    return make


def _tiny(random: np.random.Generator) -> tuple[Sample, Callable[[], Sample]]:
    """Half a million rows with a mean 0.02 standard deviations up, a share 0.5 points up."""

    def draw(by: float) -> Sample:
        rows = 500_000
        levels = np.array(["a", "b", "c", "d"])
        return Sample(
            pl.DataFrame(
                {
                    "mean": random.normal(by, 1.0, rows),
                    "spread": random.normal(0.0, 1.0 + by, rows),
                    "amount": random.lognormal(by, 1.0, rows),
                    "flag": random.random(rows) < 0.3 + by / 4.0,
                    "level": levels[random.choice(4, rows, p=[0.25 + by / 4.0, 0.25 - by / 4.0, 0.25, 0.25])],
                }
            )
        )

    return draw(0.0), lambda: draw(0.02)


def _many_levels(random: np.random.Generator) -> tuple[Sample, Callable[[], Sample]]:
    """Categories of 400 levels, evenly and steeply distributed, and one with ever new levels in its tail."""

    def draw(rows: int) -> Sample:
        return Sample(
            pl.DataFrame(
                {
                    "even": [f"e{value}" for value in random.integers(0, 400, rows)],
                    "steep": [f"s{value}" for value in np.minimum(random.zipf(1.5, rows), 400)],
                    "endless": [f"z{value}" for value in np.minimum(random.zipf(1.7, rows), 10**9)],
                    "airport": world.rows(random, rows)["airport"],
                }
            )
        )

    return draw(20_000), lambda: draw(int(random.integers(300, 4_000)))


def _many_columns(random: np.random.Generator) -> tuple[Sample, Callable[[], Sample]]:
    def draw(rows: int) -> Sample:
        numbers = {f"n{index}": random.normal(size=rows) for index in range(100)}
        skewed = {f"s{index}": random.lognormal(size=rows) for index in range(60)}
        levels = {f"c{index}": random.choice(list("abcdefgh"), rows) for index in range(40)}
        return Sample(pl.DataFrame(numbers | skewed | levels))

    return draw(10_000), lambda: draw(1_000)


def _days(autocorrelation: float, window_days: int) -> Callable[..., object]:
    """Each day has a mood of its own, which shifts some columns; moods of neighbouring days resemble."""

    def make(random: np.random.Generator) -> tuple[Sample, Callable[[], Sample]]:
        def draw(days: int) -> Sample:
            mood = np.zeros((days, 3))
            state = random.normal(size=3)
            for day in range(days):
                state = autocorrelation * state + np.sqrt(1 - autocorrelation**2) * random.normal(size=3)
                mood[day] = state
            rows = random.integers(250, 500, days)
            day = np.repeat(np.arange(days), rows)
            count = len(day)
            frame = pl.DataFrame(
                {
                    "load": 0.4 * mood[day, 0] + random.normal(size=count),
                    "heat": 1.0 * mood[day, 1] + random.normal(size=count),
                    "noise": random.normal(size=count),
                    "late": random.random(count) < 1.0 / (1.0 + np.exp(1.3 - 0.5 * mood[day, 2])),
                    "kind": np.where(
                        random.random(count) < 1.0 / (1.0 + np.exp(-0.4 * mood[day, 0])), "a", "b"
                    ),
                    "gap": np.where(
                        random.random(count) < 0.05 * np.exp(0.6 * mood[day, 2]), np.nan, mood[day, 0] * 0.1
                    )
                    + random.normal(size=count),
                }
            )
            return Sample(frame, pl.Series(day))

        return draw(60), lambda: draw(window_days)

    return make


def _seasonal(by: str, hours: int, told: bool = True) -> Callable[..., object]:
    """Hours and weekdays with a rhythm of their own; windows of so many hours from anywhere in the week."""

    def make(random: np.random.Generator) -> tuple[Sample, Callable[[], Sample]]:
        def draw(first: int, length: int) -> Sample:
            hour = first + np.arange(length)
            rows = random.poisson(30, length)
            hour = np.repeat(hour, rows)
            count = len(hour)
            of_day, weekday = hour % 24, (hour // 24) % 7
            wave = np.sin(of_day / 24.0 * 2.0 * np.pi)
            weekend = (weekday >= 5).astype(float)
            frame = pl.DataFrame(
                {
                    "load": wave + 0.8 * weekend + random.normal(size=count),
                    "distance": random.lognormal(6.0 + 0.4 * weekend, 0.5, count),
                    "hour": of_day.astype(float),
                    "carrier": np.where(random.random(count) < 0.2 + 0.3 * weekend, "charter", "line"),
                    "steady": random.normal(size=count),
                    "seen": np.where(random.random(count) < 0.05 + 0.1 * (of_day < 6), np.nan, 1.0)
                    * random.normal(size=count),
                }
            )
            season = {"weekday": weekday, "hour": of_day, "weekday_hour": weekday * 24 + of_day}[by]
            return Sample(frame, pl.Series(hour // 24), pl.Series(season) if told else None)

        def start() -> int:
            """Any hour of the week; any day of it, where seasons are weekdays, which hold for whole days."""
            return 24 * 70 + int(random.integers(0, 7) * 24 if by == "weekday" else random.integers(0, 168))

        return draw(0, 24 * 7 * 8), lambda: draw(start(), hours)

    return make


def _wild(random: np.random.Generator) -> tuple[Sample, Callable[[], Sample]]:
    """Tails without a variance, rare flags, columns that are nearly empty or nearly constant."""

    def draw(rows: int) -> Sample:
        rare = random.random(rows) < 0.002
        return Sample(
            pl.DataFrame(
                {
                    "cauchy": random.standard_cauchy(rows),
                    "pareto": random.pareto(1.1, rows),
                    "rare": rare,
                    "mostly_zero": np.where(random.random(rows) < 0.97, 0.0, random.lognormal(size=rows)),
                    "mostly_missing": np.where(random.random(rows) < 0.97, np.nan, random.normal(size=rows)),
                    "constant": np.full(rows, 7.0),
                    "empty": np.full(rows, np.nan),
                    "single": random.normal(size=rows).astype(np.float32),
                    "cents": np.round(random.gamma(2.0, 10.0, rows), 2),
                    "rare_level": np.where(rare, "b", "a"),
                }
            )
        )

    return draw(5_000), lambda: draw(int(random.integers(200, 5_000)))


QUIET = [
    Quiet("small windows of 100 rows", 150, _independent(20_000, 100), 10),
    Quiet("windows of 300 rows", 100, _independent(20_000, 300)),
    Quiet("windows of 3,000 rows in days", 100, _independent(20_000, 3_000, days=3)),
    Quiet("a reference of 1,000 rows", 60, _independent(1_000, 2_000), 20),
    Quiet("texts", 40, _independent(5_000, 800, text=True)),
    Quiet("half a million rows, a tiny effect", 30, _tiny, 3),
    Quiet("categories of 400 levels and more", 100, _many_levels),
    Quiet("200 columns", 50, _many_columns),
    Quiet("days with a mood, windows of a day", 60, _days(0.0, 1), 12),
    Quiet("days with a mood, windows of 7", 60, _days(0.0, 7), 12),
    Quiet("moody days that resemble, of 1", 50, _days(0.7, 1), 25),
    Quiet("moody days that resemble, of 7", 50, _days(0.7, 7), 25),
    Quiet("a day of a week with seasons", 60, _seasonal("weekday", 24), 6),
    Quiet("six hours, seasons by weekday and hour", 60, _seasonal("weekday_hour", 6), 6),
    Quiet("a day, seasons not told", 40, _seasonal("hour", 24, told=False), 4),
    Quiet("wild and nearly empty columns", 80, _wild, 8),
]

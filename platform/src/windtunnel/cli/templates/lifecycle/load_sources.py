"""Puts raw data where the lifecycle expects it. This one makes it up; replace it by your own.

`windtunnel run` calls `load` when partitions are missing. In a cluster, whatever delivers your data writes
the same keys, and this file is not used.
"""

from __future__ import annotations

import io
from datetime import UTC, date, datetime, time, timedelta
from typing import Protocol

import numpy as np
import polars as pl

# The days that a run without --start and --end loads: six weeks up to yesterday.
END = datetime.now(UTC).date() - timedelta(days=1)
START = END - timedelta(days=41)
CUSTOMERS, VISITS_A_DAY = 300, 500


class Store(Protocol):
    def put(self, key: str, data: bytes) -> None: ...


def load(store: Store, start: date, end: date) -> None:
    """One file per day; the same day always gets the same rows."""
    for offset in range((end - start).days + 1):
        day = start + timedelta(days=offset)
        buffer = io.BytesIO()
        visits(day).write_parquet(buffer)
        store.put(f"sources/__NAME___visits/{day}.parquet", buffer.getvalue())


def visits(day: date) -> pl.DataFrame:
    """A customer's habit, the basket and the hour decide together whether they buy."""
    habits = np.random.default_rng(0).normal(-1.0, 1.2, CUSTOMERS)
    random = np.random.default_rng(day.toordinal())
    customer = random.integers(0, CUSTOMERS, VISITS_A_DAY)
    basket = random.gamma(2.0, 25.0, VISITS_A_DAY)
    seconds = np.sort(random.integers(0, 86_400, VISITS_A_DAY))
    logit = habits[customer] + 0.01 * (basket - 50.0) + 0.5 * np.sin(seconds / 86_400 * 2 * np.pi)
    midnight = datetime.combine(day, time(), UTC)
    return pl.DataFrame(
        {
            "customer": customer,
            "at": [midnight + timedelta(seconds=int(second)) for second in seconds],
            "basket": basket.round(2),
            "bought": (random.random(VISITS_A_DAY) < 1 / (1 + np.exp(-logit))).astype(float),
        },
        schema_overrides={"at": pl.Datetime("us", "UTC")},
    )

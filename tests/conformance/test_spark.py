"""Feast's Spark, configured as a lifecycle with `engine: spark` has it, against the oracle.

Many small histories are asked in one question, kept apart by their keys, since every question costs Spark a
second. What Feast's Spark answers otherwise is expected to fail here, and listed in docs/spark.md.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import feast
import pyarrow as pa
import pyarrow.parquet as pq
import polars as pl
import pytest
from feast import types as ft
from redis_process import redis_process

from windtunnel.errors import DataError, StoreError
from windtunnel.features import spark
from windtunnel.features.online_layout import NANOS

from . import oracle
from .histories import HOUR, MOMENT, START, Stamps, ttl_of
from .oracle import Row, View

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pandas as pd

CONF = '{"spark.master": "local[2]", "spark.sql.shuffle.partitions": 2, "spark.sql.parquet.mergeSchema": false}'
HISTORIES = 60
STORED = {
    "k": pa.int64(),
    "c": pa.string(),
    MOMENT: pa.timestamp("us", "UTC"),
    "created": pa.timestamp("us", "UTC"),
    "number": pa.int64(),
    "maybe": pa.string(),
    "many": pa.list_(pa.float64()),
}
FEATURES = {"number": ft.Int64, "maybe": ft.String, "many": ft.Array(ft.Float64)}
K = feast.Entity(name="thing", join_keys=["k"], value_type=feast.ValueType.INT64)
C = feast.Entity(name="colour", join_keys=["c"], value_type=feast.ValueType.STRING)
TTLS = [None, HOUR, 2 * HOUR, HOUR + 1_000, 30 * HOUR]


@dataclass(frozen=True)
class Asked:
    """One kind of question: the views' join keys (column of the entity rows → stored column)."""

    keys: dict[str, str]
    entities: list[feast.Entity]


SHAPES = {
    "plain": Asked({"k": "k"}, [K]),
    "pair": Asked({"k": "k", "c": "c"}, [K, C]),
    "mapped": Asked({"k2": "k"}, [K]),
    "entityless": Asked({}, []),
}


class Histories:
    """Few keys and few moments in each, so that ties, corrections and edges of ttl are the rule."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def view(self, name: str, asked: Asked, created: bool, ttl: int | None, nobody_knows: bool) -> View:
        rows = [self._row(history, nobody_knows) for history in range(HISTORIES) for _ in range(self._below(12))]
        self._random.shuffle(rows)
        features = {feature: f"{name}__{feature}" for feature in FEATURES}
        return View(name, rows, asked.keys, features, created="created" if created else None, ttl=ttl)

    def entity_rows(self) -> list[Row]:
        rows = [
            {"k": self._key(history), "k2": self._key(history), "c": self._colour(), MOMENT: self._moment()}
            for history in range(HISTORIES)
            for _ in range(self._below(8))
        ]
        return [{"row": number, **row} for number, row in enumerate(rows)]

    def _row(self, history: int, nobody_knows: bool) -> Row:
        event = self._moment()
        late = [0, 0, HOUR, -HOUR, 2 * HOUR + 1_000, 9 * HOUR, None][self._below(7 if nobody_knows else 6)]
        number = self._below(1_000)
        return {
            "k": self._key(history),
            "c": self._colour(),
            MOMENT: event,
            "created": None if late is None else event + late,
            "number": number,
            "maybe": self._random.choice([None, "", "words", f"text {number}"]),
            "many": self._random.choice([None, [], [float(number)] * 3]),
        }

    def _key(self, history: int) -> int | None:
        """Written beside a colour, some of these read alike: 1001 and 11, 10011 and 1."""
        return self._random.choice([int(f"{history + 100}1"), int(f"{history + 100}11"), None])

    def _colour(self) -> str | None:
        return self._random.choice(["1", "11", None])

    def _moment(self) -> int:
        return START + self._below(6) * HOUR + (self._below(3) - 1) * 1_000

    def _below(self, end: int) -> int:
        return self._random.randrange(end)


class Repository:
    """A Feast repository in a directory, on Spark."""

    def __init__(self, directory: Path, online: dict[str, Any] | None = None) -> None:
        self.directory = directory
        conf = spark.session_conf(CONF)
        session = spark.start_session(conf)
        online = online or {"type": "sqlite", "path": str(directory / "online.db")}
        self.store = feast.FeatureStore(
            config=feast.RepoConfig(
                project="histories",
                provider="local",
                registry=str(directory / "registry.db"),
                online_store=spark.online_store(online, session),
                entity_key_serialization_version=3,
                repo_path=directory,
                **spark.engine_config(conf),
            )
        )

    def apply(self, views: list[View], asked: Asked) -> feast.FeatureService:
        made = [self._view(view, asked) for view in views]
        mapped = {stored: column for column, stored in asked.keys.items() if stored != column}
        service = feast.FeatureService(
            name="all", features=[view.with_join_key_map(mapped) if mapped else view for view in made]
        )
        self.store.apply([K, C, *made, service])
        return service

    def _view(self, view: View, asked: Asked) -> feast.FeatureView:
        directory = self.directory / view.name
        directory.mkdir(exist_ok=True)
        # Several files, for order goes across them.
        third = len(view.rows) // 3
        for number, rows in enumerate((view.rows[:third], view.rows[third:])):
            pq.write_table(table(rows), directory / f"{number}.parquet")
        source = feast.FileSource(
            name=view.name, path="unused", timestamp_field=MOMENT, created_timestamp_column=view.created or ""
        )
        return feast.FeatureView(
            name=view.name,
            entities=asked.entities,
            ttl=ttl_of(view),
            schema=[feast.Field(name=name, dtype=dtype) for name, dtype in FEATURES.items()],
            source=spark.spark_source(source, f"{directory}/*.parquet", [e.join_key for e in asked.entities]),
        )

    def ask(
        self, service: feast.FeatureService, rows: pl.DataFrame, keys: list[str], known_then: bool
    ) -> dict[int, Row]:
        """Answers by the number of the entity row."""
        answers: dict[int, Row] = {}
        for part in spark.unambiguous(rows, MOMENT, [keys]):
            with spark.spark_faults():
                job = self.store.get_historical_features(
                    part.to_pandas(), service, full_feature_names=True, filter_by_created_timestamp=known_then
                )
                for row in plain(job.to_df()):
                    assert row["row"] not in answers, "an entity row came back twice"
                    answers[row["row"]] = row
        return answers


def table(rows: list[Row]) -> pa.Table:
    stamps = Stamps()
    return pa.table(
        {
            name: stamps.array([row[name] for row in rows]) if pa.types.is_timestamp(dtype)
            else pa.array([row[name] for row in rows], dtype)
            for name, dtype in STORED.items()
        }
    )  # fmt: skip


def plain(frame: pd.DataFrame) -> list[Row]:
    """Rows of what pandas was given: whole numbers with gaps are floats there, and lists are arrays."""
    return [{name: _plain(value) for name, value in row.items()} for row in frame.to_dict("records")]


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, float) and not isinstance(value, bool):
        return None if value != value else int(value) if value.is_integer() else value
    return value


@pytest.fixture(scope="module", autouse=True)
def spark_session() -> Iterator[None]:
    """One for all: it takes seconds to start."""
    session = spark.start_session(spark.session_conf(CONF))
    yield
    session.stop()


def entity_frame(rows: list[Row], stamps: Stamps) -> pl.DataFrame:
    columns = {name: pa.array([row[name] for row in rows]) for name in ("row", "k", "k2", "c")}
    frame = pl.from_arrow(pa.table({**columns, MOMENT: stamps.array([row[MOMENT] for row in rows])}))
    assert isinstance(frame, pl.DataFrame)
    return frame


@pytest.mark.parametrize("known_then", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_point_in_time(shape: str, known_then: bool, tmp_path: Path) -> None:
    asked = SHAPES[shape]
    made = Histories(len(shape) + known_then)
    views = [
        made.view(f"view_{number}", asked, created, ttl, nobody_knows=known_then or not created)
        for number, (created, ttl) in enumerate([(True, None), (True, HOUR), (False, HOUR + 1_000), (True, 30 * HOUR)])
    ]
    entity_rows = made.entity_rows()
    repository = Repository(tmp_path)
    service = repository.apply(views, asked)
    stamps = Stamps(zone=made._random.choice([None, "UTC", "Asia/Kolkata", "America/New_York"]))
    got = repository.ask(service, entity_frame(entity_rows, stamps), list(asked.keys), known_then)
    assert len(got) == len(entity_rows)
    for want in oracle.answer(entity_rows, MOMENT, views, known_then=known_then):
        row = got[want["row"]]
        for view in views:
            for name in view.features.values():
                assert row[name] == want[name], (want, row)

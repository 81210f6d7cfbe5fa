from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING

import polars as pl
import pytest
from pyspark.errors import PySparkRuntimeError, PythonException

from windtunnel.errors import PermanentError, SpecError, StoreError, TemporaryError
from windtunnel.features.daily import Sidecar
from windtunnel.features.spark.configuration import SparkClusterEngine, SparkEngine, spark_faults, unambiguous
from windtunnel.objects import open_store

if TYPE_CHECKING:
    from pathlib import Path

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_entity_rows_that_read_alike_are_asked_apart() -> None:
    rows = pl.DataFrame(
        {
            "n": range(5),
            "a": [1, 11, 1, 11, None],
            "b": ["11", "1", "2", "1", "1"],
            "at": [NOON, NOON, NOON, NOON + timedelta(1), NOON],
        }
    )
    parts = list(unambiguous(rows, "at", [["a", "b"], ["a"]]))
    assert [part.columns for part in parts] == [["n", "a", "b", "at"]] * 2
    assert [part["n"].to_list() for part in parts] == [[0, 2, 3, 4], [1]]


def test_views_of_one_key_are_asked_in_one_question() -> None:
    rows = pl.DataFrame({"a": [1, 1, 11], "b": ["x", "x", "y"], "at": [NOON] * 3})
    assert [part.height for part in unambiguous(rows, "at", [["a"], ["b"], []])] == [3]


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("windtunnel.errors.StoreError: online store: it is full; free some memory", StoreError),
        ("windtunnel.errors.PermanentError: the online store refused", PermanentError),
        ("MemoryError: no more", TemporaryError),
    ],
)
def test_an_executors_error_is_told_by_the_end_of_its_traceback(line: str, kind: type[Exception]) -> None:
    text = f'Thrown from the Python worker:\nTraceback:\n  File "x", line 1\n{line}\n\n\tat org.apache.spark'
    with pytest.raises(kind, match=line.rpartition(": ")[2][:10]) as caught, spark_faults():
        raise PythonException(text)
    assert type(caught.value) is kind


def test_a_ttl_that_feasts_spark_would_cut() -> None:
    view = SimpleNamespace(name="customer", ttl=timedelta(milliseconds=1500))
    store = SimpleNamespace(list_feature_views=lambda: [view])
    with pytest.raises(SpecError, match="'customer' has a ttl"):
        SparkEngine({}).answers(store, "demo", pl.DataFrame(), [])  # type: ignore[arg-type]


def test_faults_of_spark_itself_may_pass() -> None:
    with pytest.raises(TemporaryError, match="executor lost"), spark_faults():
        raise PySparkRuntimeError("executor lost")


def test_executors_elsewhere_read_files_where_they_are(tmp_path: Path) -> None:
    days = {
        date(2026, 3, 1): Sidecar("sha256:1", 1, 1, "x"),
        date(2026, 3, 2): Sidecar("", 0, 0, "x"),
        date(2026, 3, 4): Sidecar("sha256:2", 1, 1, "x"),
    }
    engine = SparkClusterEngine({"spark.master": "k8s://x"})
    directory = tmp_path / "odd{name}"
    fetched = engine.fetch(open_store(str(directory), {}), "demo", "customer", days, tmp_path)
    assert fetched.files.startswith("/")
    assert fetched.files.endswith(r"/odd\{name\}/demo/features/customer/{2026-03-01,2026-03-04}.parquet")
    assert list(fetched.read) == [date(2026, 3, 1), date(2026, 3, 4)]
    bucket = SimpleNamespace(uri=lambda key: f"s3://bucket/prefix/{key}")
    assert engine.fetch(bucket, "demo", "customer", days, tmp_path).files.startswith(
        "s3a://bucket/prefix/demo/features/"
    )  # type: ignore[arg-type]

"""Who else was asked: shadows beside the answer, and a champion in a challenger's stead."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
from s3_server import s3_server
from served_bundle import FEATURES, LIFECYCLE, answers, make_version

from windtunnel.cli import main
from windtunnel.objects import open_store
from windtunnel.prediction_log.frames import schema
from windtunnel.prediction_log.ids import derived_id
from windtunnel.prediction_log.keys import object_key

if TYPE_CHECKING:
    from collections.abc import Callable

    from windtunnel.objects import ObjectStore
    from windtunnel.spec.servedmodel import ModelVersion

    Why = Callable[..., tuple[int, str]]

MOMENT = datetime(2026, 11, 20, 9, 30, tzinfo=UTC)
ID = derived_id(MOMENT, b"request")
ROWS = [[0.5, 2.0, None, 7.0, 1.5], [0.25, 1.0, 3.0, None, 0.0]]


def log(store: ObjectStore, version: ModelVersion, role: str, weight: float, sequence: int) -> None:
    inputs = np.array([[np.nan if value is None else value for value in row] for row in ROWS])
    # In the model's own precision, as serving would have answered.
    predictions = answers(inputs.astype(np.float32), weight).astype(np.float32).astype(float)
    rows: list[dict[str, Any]] = [
        {
            "prediction_id": ID,
            "row": number,
            "time": MOMENT,
            "version": version.version,
            "digest": version.digest,
            "role": role,
            "key": "k",
            "features": dict(zip(FEATURES, row, strict=True)),
            "missing": 1,
            "prediction": float(predictions[number]),
            "latency_seconds": 0.002,
            "writer": "pod-1",
        }
        for number, row in enumerate(ROWS)
    ]
    frame = pl.DataFrame(rows, schema=schema(FEATURES, {"carrier": "STRING"}))
    hour = int(MOMENT.timestamp()) // 3600
    path = store.url.removeprefix("file://")
    key = object_key(LIFECYCLE, hour, "pod-1", sequence, version.digest)
    store.put(key, b"")
    frame.write_parquet(f"{path}/{key}")


@pytest.fixture
def versions(store: ObjectStore) -> list[ModelVersion]:
    return [make_version(store, str(number), float(number)) for number in (1, 2)]


@pytest.fixture
def why(store: ObjectStore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Why:
    def run(*arguments: str) -> tuple[int, str]:
        place = [] if "--store" in arguments else ["--store", store.url]
        monkeypatch.setattr(sys, "argv", ["windtunnel", "why", ID, *arguments, *place])
        with pytest.raises(SystemExit) as leave:
            main()
        output, errors = capsys.readouterr()
        return int(leave.value.code or 0), output + errors

    return run


def test_a_shadow_stands_beside_the_answer(
    store: ObjectStore, versions: list[ModelVersion], why: Why
) -> None:
    log(store, versions[1], "shadow", 2.0, 0)
    log(store, versions[0], "champion", 1.0, 1)
    code, output = why("--replay")
    assert code == 0, output
    answer, also = output.split("\nalso ")
    assert "by version 1, the champion" in answer
    assert "by version 2, a shadow: its answer went to nobody" in also
    assert versions[1].bundle in also
    for part in (answer, also):
        assert "✓" in part
    assert "none about this bundle is in the store" in answer
    assert "the ledger names it nowhere" in answer
    assert "it does not say" in answer, "what it was trained on"


def test_a_fallback_says_who_answered_in_whose_stead(
    store: ObjectStore, versions: list[ModelVersion], why: Why
) -> None:
    log(store, versions[0], "fallback", 1.0, 0)
    code, output = why()
    assert code == 0, output
    assert "the champion, in a challenger's stead" in output


def test_a_shadow_that_answers_differently_now_is_told(
    store: ObjectStore, versions: list[ModelVersion], why: Why
) -> None:
    log(store, versions[0], "champion", 1.0, 0)
    log(store, versions[1], "shadow", 2.5, 1)
    code, output = why("--replay")
    assert code == 2
    assert "✗ differs by" in output.split("\nalso ")[1]


def test_each_row_of_each_role_is_in_the_json(
    store: ObjectStore, versions: list[ModelVersion], why: Why
) -> None:
    log(store, versions[0], "champion", 1.0, 0)
    log(store, versions[1], "shadow", 2.0, 1)
    told = json.loads(why("--json")[1])
    assert [(answer["role"], len(answer["rows"])) for answer in told["answers"]] == [
        ("champion", 2),
        ("shadow", 2),
    ]
    assert set(told["versions"]) == {version.digest for version in versions}


def test_it_is_the_same_from_s3(
    store: ObjectStore, versions: list[ModelVersion], why: Why, monkeypatch: pytest.MonkeyPatch
) -> None:
    log(store, versions[0], "champion", 1.0, 0)
    here = why("--replay")
    with s3_server() as server:
        there = open_store("s3://logs", server.environment)
        for entry in store.list():
            there.put(entry.key, store.get(entry.key))
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        code, output = why("--replay", "--store", "s3://logs")
    assert code == 0, output
    assert output == here[1].replace(store.url, "s3://logs")

"""`windtunnel score`: what Airflow is asked for, what the shards' results make together, how it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from airflow_server import PASSWORD, USERNAME, FakeAirflow, fake_airflow, task

from windtunnel.cli import follow

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .conftest import Shell

DAYS = ("--from", "2013-01-01", "--to", "2013-01-31")
ID = "019abf3c-4e2a-7c1d-8a55-0e4b6f1d2c3b"


def result(rows: int, mean: float) -> dict[str, Any]:
    facts: dict[str, Any] = {"rows": rows, "version": "7"}
    if rows:
        facts |= {"mean_prediction": mean, "first_id": ID}
    return {"facts": facts, "outputs": {"scores": {"uri": "s3://bucket/wind/scores"}}}


@pytest.fixture
def airflow(windtunnel: Shell, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeAirflow]:
    monkeypatch.setattr(follow, "PAUSE", 0.01)
    monkeypatch.setenv("WINDTUNNEL_AIRFLOW_USERNAME", USERNAME)
    monkeypatch.setenv("WINDTUNNEL_AIRFLOW_PASSWORD", PASSWORD)
    with fake_airflow() as found:
        found.add_lifecycle("wind")
        found.frames = [("success", [task("score", "success", shard) for shard in range(3)])]
        found.results = {"score[0]": result(0, 0), "score[1]": result(300, 0.5), "score[2]": result(100, 0.1)}
        yield found


def test_the_shards_are_told_as_one(windtunnel: Shell, airflow: FakeAirflow) -> None:
    code, output = windtunnel("score", "wind", *DAYS, "--airflow", airflow.url)
    assert code == 0, output
    assert list(airflow.triggered.values()) == [{"start": "2013-01-01", "end": "2013-01-31"}]
    assert f"{airflow.url}/dags/wind__score/runs/manual__" in output
    assert "400 rows of wind scored by version 7, mean prediction 0.4" in output
    assert "s3://bucket/wind/scores" in output
    assert f"windtunnel why {ID} wind" in output


def test_a_version_may_be_named(windtunnel: Shell, airflow: FakeAirflow) -> None:
    assert windtunnel("score", "wind", *DAYS, "--version", "6", "--airflow", airflow.url)[0] == 0
    assert list(airflow.triggered.values()) == [{"start": "2013-01-01", "end": "2013-01-31", "version": "6"}]


def test_days_on_which_nothing_was_asked_are_told_as_that(windtunnel: Shell, airflow: FakeAirflow) -> None:
    airflow.results = {f"score[{shard}]": result(0, 0) for shard in range(3)}
    code, output = windtunnel("score", "wind", *DAYS, "--airflow", airflow.url)
    assert code == 0
    assert "nothing was asked of wind on these days" in output


def test_a_shard_that_fails_is_told_with_its_reason(windtunnel: Shell, airflow: FakeAirflow) -> None:
    why = "score: request error: MLflow: there is no version 99"
    airflow.frames = [
        ("failed", [task("score", "success", 0), task("score", "failed", 1, days="shard 2 of 3")])
    ]
    airflow.logs["score", 1] = [{"event": "failed", "error_detail": [{"exc_value": why}]}]
    code, output = windtunnel("score", "wind", *DAYS, "--version", "99", "--airflow", airflow.url)
    assert code == 1
    assert "score [shard 2 of 3] failed, try 1" in output
    assert why in output


@pytest.mark.parametrize(
    ("days", "words"),
    [
        (("--from", "2013-02-01", "--to", "2013-01-01"), "lies after"),
        (("--from", "2013-02-01", "--to", "2999-01-01"), "scoring ends today or earlier"),
    ],
)
def test_days_that_cannot_be_are_refused(
    windtunnel: Shell, airflow: FakeAirflow, days: tuple[str, ...], words: str
) -> None:
    code, output = windtunnel("score", "wind", *days, "--airflow", airflow.url)
    assert code == 2
    assert words in output
    assert not airflow.triggered


def test_on_this_machine_the_lifecycle_must_be_here(windtunnel: Shell) -> None:
    code, output = windtunnel("score", "wind", *DAYS)
    assert code == 2
    assert "there is no lifecycle 'wind'" in output

"""`windtunnel backfill --airflow`: what is checked first, what is shown, how it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from airflow_server import PASSWORD, USERNAME, FakeAirflow, fake_airflow, task
from waiting import HANG, until

from windtunnel.cli import follow

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .conftest import Shell

SOURCE = Path(__file__).parents[3] / "platform" / "src"
DAYS = ("--from", "2013-01-01", "--to", "2013-01-31")
FACTS = {
    "views": {
        "tower": {
            "newest_event": "2013-02-01T00:00:00+00:00",
            "rows": 12_345,
            "bytes": 9,
            "seconds": 1.5,
            "age_seconds": 7200.0,
            "objective_seconds": 3600.0,
            "stale": True,
        }
    },
    "news": False,
}


@pytest.fixture
def airflow(windtunnel: Shell, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeAirflow]:
    monkeypatch.setattr(follow, "PAUSE", 0.01)
    monkeypatch.setenv("WINDTUNNEL_AIRFLOW_USERNAME", USERNAME)
    monkeypatch.setenv("WINDTUNNEL_AIRFLOW_PASSWORD", PASSWORD)
    with fake_airflow() as found:
        found.add_lifecycle("wind")
        found.frames = [
            ("running", [task("extract", "running", 0), task("publish", None)]),
            ("success", [task("extract", "success", 0), task("publish", "skipped")]),
        ]
        found.results = {"publish": {"facts": FACTS}}
        yield found


def test_the_days_are_filled_and_what_came_of_it_is_shown(windtunnel: Shell, airflow: FakeAirflow) -> None:
    code, output = windtunnel("backfill", "wind", *DAYS, "--airflow", airflow.url)
    assert code == 0
    assert list(airflow.triggered.values()) == [{"start": "2013-01-01", "end": "2013-01-31"}]
    assert f"{airflow.url}/dags/wind__features/runs/manual__" in output
    assert "extract: 1 of 1" in output
    assert "12,345" in output
    assert "2 hours" in output
    assert "1 hour: STALE" in output
    assert "no training was started" in output


def test_days_with_news_say_nothing_of_training(windtunnel: Shell, airflow: FakeAirflow) -> None:
    airflow.results = {"publish": {"facts": {**FACTS, "news": True}}}
    code, output = windtunnel("backfill", "dags/lifecycles/wind", *DAYS, "--airflow", airflow.url)
    assert code == 0
    assert "no training" not in output


def test_the_address_may_come_from_the_environment(
    windtunnel: Shell, airflow: FakeAirflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WINDTUNNEL_AIRFLOW_URL", airflow.url)
    assert windtunnel("backfill", "wind", *DAYS)[0] == 0
    assert airflow.triggered


def test_a_stage_that_fails_is_told_with_its_days_its_reason_and_where_to_look(
    windtunnel: Shell, airflow: FakeAirflow
) -> None:
    why = "extract: data error: s3://b/x: source 'gusts' has no partition for 2013-01-09; load those days"
    airflow.frames = [
        (
            "failed",
            [
                task("extract", "success", 0),
                task("extract", "failed", 1, days="2013-01-08 to 2013-01-14", try_number=2),
                task("transform", "upstream_failed"),
            ],
        )
    ]
    airflow.logs["extract", 2] = [{"event": "failed", "error_detail": [{"exc_value": why}]}]
    code, output = windtunnel("backfill", "wind", *DAYS, "--airflow", airflow.url)
    assert code == 1
    assert "extract [2013-01-08 to 2013-01-14] failed, try 2" in output
    assert why in output.replace("\n", " ").replace("  ", " ")
    assert f"look at it: {airflow.url}/dags/wind__features/runs/manual__" in output
    assert "the same command again" in output


def test_a_stage_that_says_no_reason_shows_its_last_lines(windtunnel: Shell, airflow: FakeAirflow) -> None:
    airflow.frames = [("failed", [task("extract", "failed", index) for index in range(5)])]
    airflow.logs["extract", 1] = [{"event": f"line {number}"} for number in range(30)]
    code, output = windtunnel("backfill", "wind", *DAYS, "--airflow", airflow.url)
    assert code == 1
    assert "│ line 29" in output
    assert "line 10" not in output
    assert "and 2 more" in output


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("wnid", "there is no lifecycle 'wnid' in Airflow"),
        ("wnid", "did you mean 'wind'?"),
        ("zzz", "there are wind"),
    ],
)
def test_an_unknown_lifecycle_gets_the_nearest_one(
    windtunnel: Shell, airflow: FakeAirflow, name: str, words: str
) -> None:
    code, output = windtunnel("backfill", name, *DAYS, "--airflow", airflow.url)
    assert code == 2
    assert words in output
    assert not airflow.triggered


def test_a_broken_lifecycle_is_told_with_what_breaks_it(windtunnel: Shell, airflow: FakeAirflow) -> None:
    airflow.dags["calm__broken"] = {"dag_id": "calm__broken", "description": "lifecycle.yaml:7: no field"}
    code, output = windtunnel("backfill", "calm", *DAYS, "--airflow", airflow.url)
    assert code == 2
    assert "broken there: lifecycle.yaml:7: no field" in output


def test_a_dag_that_somebody_paused_is_left_alone(windtunnel: Shell, airflow: FakeAirflow) -> None:
    airflow.add_lifecycle("wind", paused=True)
    code, output = windtunnel("backfill", "wind", *DAYS, "--airflow", airflow.url)
    assert code == 2
    assert "wind__features is paused" in output
    assert not airflow.triggered


def test_days_in_the_wrong_order_are_refused_before_anything_is_asked(
    windtunnel: Shell, airflow: FakeAirflow
) -> None:
    days = ("--from", "2013-02-01", "--to", "2013-01-31")
    code, output = windtunnel("backfill", "wind", *days, "--airflow", airflow.url)
    assert code == 2
    assert "--from 2013-02-01 lies after --to 2013-01-31" in output
    assert windtunnel("backfill", "wind", *days)[0] == 2
    days = ("--from", "2013-02-01", "--to", "9999-12-31")
    code, output = windtunnel("backfill", "wind", *days, "--airflow", "http://127.0.0.1:1")
    assert code == 2
    assert "--to 9999-12-31 is still to come" in output
    assert windtunnel("backfill", "wind", "--from", "2013-02-30", "--to", "2013-03-01")[0] == 2
    assert not airflow.asked


def test_the_login_comes_from_the_environment_only(
    windtunnel: Shell, airflow: FakeAirflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WINDTUNNEL_AIRFLOW_PASSWORD")
    code, output = windtunnel("backfill", "wind", *DAYS, "--airflow", airflow.url)
    assert code == 2
    assert "WINDTUNNEL_AIRFLOW_USERNAME and WINDTUNNEL_AIRFLOW_PASSWORD must both be set" in output
    monkeypatch.setenv("WINDTUNNEL_AIRFLOW_PASSWORD", "hidden-mistake")
    code, output = windtunnel("backfill", "wind", *DAYS, "--airflow", airflow.url)
    assert code == 2
    assert "refuses the login" in output
    assert "hidden" not in output


def test_an_airflow_that_does_not_answer_is_a_reason_to_try_again(
    windtunnel: Shell, airflow: FakeAirflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("windtunnel.cli.airflow_run._FIRST_PATIENCE", 0.0)
    code, output = windtunnel("backfill", "wind", *DAYS, "--airflow", "http://127.0.0.1:9")
    assert code == 75
    assert "Airflow does not answer" in output


def test_when_airflow_goes_away_the_way_to_the_run_is_still_shown(
    windtunnel: Shell, airflow: FakeAirflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("windtunnel.cli.airflow_run.PATIENCE", 0.0)
    airflow.frames = airflow.frames[:1]
    airflow.dies_after = 6
    code, output = windtunnel("backfill", "wind", *DAYS, "--airflow", airflow.url)
    assert code == 75
    assert "The run may go on in Airflow" in output
    assert "503 no endpoints" in output
    assert f"look at it: {airflow.url}/dags/wind__features/runs/manual__" in output


def test_ctrl_c_leaves_the_run_alone_and_says_where_it_is(windtunnel: Shell, airflow: FakeAirflow) -> None:
    airflow.frames = airflow.frames[:1]
    process = subprocess.Popen(
        [sys.executable, "-m", "windtunnel.cli", "backfill", "wind", *DAYS, "--airflow", airflow.url],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    until(lambda: any(call.endswith("/taskInstances") for call in airflow.asked))
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=HANG)
    assert process.returncode == 130
    assert "the run goes on in Airflow" in output
    assert f"look at it: {airflow.url}/dags/wind__features/runs/manual__" in output
    assert not [call for call in airflow.asked if call.startswith(("PATCH", "DELETE"))]


def test_without_an_airflow_the_lifecycle_is_looked_for_here(windtunnel: Shell) -> None:
    windtunnel("init", "churn")
    code, output = windtunnel("backfill", "chrun", *DAYS)
    assert code == 2
    assert "did you mean 'churn'?" in output

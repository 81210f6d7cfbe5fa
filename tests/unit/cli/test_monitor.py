"""`windtunnel monitor`: what is asked for, what is told, and the training that follows on this machine."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any

import pytest
from airflow_server import PASSWORD, USERNAME, FakeAirflow, fake_airflow, task

from windtunnel.cli import follow, monitor
from windtunnel.local.runner import Outcome
from windtunnel.spec.stages import StageResult

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .conftest import Shell

DAY = "2026-03-0{}T00:00:00+00:00"
QUIET = {
    "state": "quiet",
    "reason": "nothing speaks for a retraining",
    "retrain": False,
    "version": "3",
    "rows": 1200,
    "labelled": 900,
    "findings": [["freshness", "info", "customer is 2 h old"]],
}
DRIFT = {
    **QUIET,
    "state": "retrain",
    "reason": "drift of spend, for 2 windows in a row",
    "retrain": True,
    "measure": "demo/measures/m.json",
    "end": "2026-03-01",
    "findings": [["drift", "warning", "spend moved up by [2] deviations"]],
}


@pytest.fixture
def airflow(windtunnel: Shell, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeAirflow]:
    monkeypatch.setattr(follow, "PAUSE", 0.01)
    monkeypatch.setenv("WINDTUNNEL_AIRFLOW_USERNAME", USERNAME)
    monkeypatch.setenv("WINDTUNNEL_AIRFLOW_PASSWORD", PASSWORD)
    with fake_airflow() as found:
        found.add_lifecycle("demo")
        found.frames = [("success", [task("monitor", "success")])]
        found.results = {"monitor": {"facts": QUIET}}
        yield found


def test_what_was_found_is_told_with_what_the_policy_makes_of_it(
    windtunnel: Shell, airflow: FakeAirflow
) -> None:
    code, output = windtunnel("monitor", "demo", "--airflow", airflow.url)
    assert code == 0, output
    assert list(airflow.triggered.values()) == [{}]
    assert f"demo  in {airflow.url}/dags/demo__monitor/runs/manual__" in output
    assert "version 3: 1,200 predictions, 900 of them labelled" in output
    assert "freshness: customer is 2 h old" in output
    assert "quiet: nothing speaks for a retraining" in output
    assert "windtunnel report demo" in output


def test_the_training_that_starts_in_the_cluster_is_named(windtunnel: Shell, airflow: FakeAirflow) -> None:
    airflow.results = {"monitor": {"facts": DRIFT}}
    output = windtunnel("monitor", "demo", "--airflow", airflow.url)[1]
    assert "spend moved up by [2] deviations" in output
    assert "demo__train starts because of this" in output


@pytest.mark.parametrize(
    ("options", "conf"),
    [
        (("--from", "2026-03-01", "--to", "2026-03-02"), {"start": DAY.format(1), "end": DAY.format(3)}),
        (("--from", "2026-03-01", "--to", "2026-03-01"), {"start": DAY.format(1), "end": DAY.format(2)}),
        (("--to", "2026-03-01T12:00"), {"end": "2026-03-01T12:00:00+00:00"}),
        (("--to", "2026-03-01T02:00+02:00"), {"end": "2026-03-01T00:00:00+00:00"}),
        (("--version", "2", "--scores"), {"version": "2", "folder": "scores"}),
    ],
)  # fmt: skip
def test_days_are_meant_as_whole_and_moments_as_they_are(
    windtunnel: Shell, airflow: FakeAirflow, options: tuple[str, ...], conf: dict[str, str]
) -> None:
    assert windtunnel("monitor", "demo", *options, "--airflow", airflow.url)[0] == 0
    assert list(airflow.triggered.values()) == [conf]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--from", "noon"), "'noon' is no moment"),
        (("--from", "2026-03-02", "--to", "2026-03-01"), "--from 2026-03-02 lies after --to 2026-03-01"),
    ],
)
def test_a_window_that_is_none_is_refused(windtunnel: Shell, options: tuple[str, ...], words: str) -> None:
    code, output = windtunnel("monitor", "demo", *options)
    assert code == 2
    assert words in output


class Runs:
    """In the place of runs on this machine: remembers what was asked, answers with facts by DAG."""

    def __init__(self, **facts: dict[str, Any] | None) -> None:
        self.facts = facts
        self.asked: list[tuple[Any, ...]] = []

    def __call__(
        self, directory: Path, home: Any, again: str, start: Any, end: Any, *, dag: str, params: Any
    ) -> tuple[Outcome | None, int]:
        self.asked.append((dag, end, dict(params)))
        facts = self.facts[dag]
        if facts is None:
            return None, 75
        return Outcome(directory.name, "run-1", None, {dag: StageResult(facts=facts)}), 0


def asks(windtunnel: Shell, lifecycle: Path, monkeypatch: pytest.MonkeyPatch, runs: Runs) -> tuple[int, str]:
    monkeypatch.setattr(monitor, "run_here", runs)
    return windtunnel("monitor", str(lifecycle))


def test_on_this_machine_drift_that_lasts_is_answered_at_once_with_its_reason(
    windtunnel: Shell, lifecycle_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = Runs(monitor=DRIFT, train={"version": "4"})
    code, output = asks(windtunnel, lifecycle_directory, monkeypatch, runs)
    assert code == 0, output
    assert runs.asked == [
        ("monitor", None, {}),
        ("train", date(2026, 3, 1), {"reason": DRIFT["reason"], "measure": DRIFT["measure"]}),
    ]
    assert "Training because of drift of spend, for 2 windows in a row" in output
    assert "version  4" in output


def test_what_does_not_last_trains_nothing_and_a_failure_is_the_commands_own(
    windtunnel: Shell, lifecycle_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quiet = Runs(monitor=QUIET)
    assert asks(windtunnel, lifecycle_directory, monkeypatch, quiet)[0] == 0
    assert [dag for dag, *_ in quiet.asked] == ["monitor"]
    assert asks(windtunnel, lifecycle_directory, monkeypatch, Runs(monitor=None))[0] == 75
    assert asks(windtunnel, lifecycle_directory, monkeypatch, Runs(monitor=DRIFT, train=None))[0] == 75


def test_before_there_is_a_champion_that_is_what_is_said(
    windtunnel: Shell, lifecycle_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = Runs(monitor={"state": "quiet", "reason": "there is no champion yet", "retrain": False})
    output = asks(windtunnel, lifecycle_directory, monkeypatch, nothing)[1]
    assert "quiet: there is no champion yet" in output

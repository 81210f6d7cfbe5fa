"""A run in Airflow as it is shown: slices done per stage, on a terminal and elsewhere."""

from __future__ import annotations

import io

import pytest
from airflow_server import PASSWORD, USERNAME, fake_airflow, task
from rich.console import Console

from windtunnel.cli import follow as following
from windtunnel.cli.airflow_api import AirflowApi, TaskRun
from windtunnel.cli.follow import follow, tallies


def run(task_id: str, state: str, map_index: int = -1) -> TaskRun:
    return TaskRun(task_id, map_index, state, 1, "", None, None)


def test_tasks_are_in_the_order_of_the_stages() -> None:
    names = ["publish", "materialize.b", "transform", "other", "plan", "materialize.a", "extract"]
    assert [tally.name for tally in tallies([run(name, "waiting") for name in names])] == [
        "plan", "extract", "transform", "materialize.a", "materialize.b", "publish", "other",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("states", "words", "mark"),
    [
        (["waiting"] * 2, "0 of 2", "·"),
        (["success", "success", "running", "queued", "waiting"], "2 of 5, 1 running, 1 in the queue", "▸"),
        (["success", "failed", "up_for_retry"], "1 of 3, 1 to be tried again, 1 failed", "✗"),
        (["upstream_failed"] * 3, "0 of 3, 3 not run", "✗"),
        (["success"] * 52, "52 of 52", "✓"),
    ],
)
def test_slices_are_counted(states: list[str], words: str, mark: str) -> None:
    (tally,) = tallies([run("extract", state, index) for index, state in enumerate(states)])
    assert tally.words == words
    assert tally.mark[0] == mark


@pytest.mark.parametrize(
    ("state", "words"),
    [("waiting", ""), ("running", "1 running"), ("success", "done"), ("skipped", "skipped")],
)
def test_a_task_without_slices_is_told_by_its_state(state: str, words: str) -> None:
    (tally,) = tallies([run("publish", state)])
    assert tally.words == words


@pytest.mark.parametrize("terminal", [True, False])
def test_a_run_is_shown_until_it_has_ended(terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "PAUSE", 0.01)
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=terminal, width=80, color_system=None)
    half = [task("extract", "success", 0), task("extract", "running", 1), task("publish", None)]
    with fake_airflow() as airflow:
        airflow.frames = [
            ("queued", [task("publish", None)]),
            ("running", half),
            ("running", half),
            (
                "success",
                [task("extract", "success", 0), task("extract", "success", 1), task("publish", "skipped")],
            ),
        ]
        state, tasks = follow(AirflowApi(airflow.url, USERNAME, PASSWORD), "wind__features", "r", console)
    assert state == "success"
    assert len(tasks) == 3
    shown = screen.getvalue()
    assert "2 of 2" in shown
    if not terminal:
        assert [line.partition("s  ")[2] for line in shown.splitlines()] == [
            "the run: waits for its turn: one run of a DAG at a time",
            "extract: 1 of 2, 1 running",
            "extract: 2 of 2",
            "publish: skipped",
        ]

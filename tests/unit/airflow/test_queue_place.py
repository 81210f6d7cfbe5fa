"""Who goes first when pods are short: seconds since 2020, less is later."""

from __future__ import annotations

import runpy
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

import windtunnel.airflow
from windtunnel.airflow.queue_place import task_instance_mutation_hook, weight

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
MOMENTS = st.datetimes(datetime(2024, 1, 1), datetime(2080, 1, 1), timezones=st.just(UTC))


def order(**tasks: tuple[datetime, int]) -> list[str]:
    """Names of tasks, given as (when its run began, map index), as Airflow takes them."""
    return sorted(tasks, key=lambda name: -weight(*tasks[name]))


def test_what_came_first_goes_first() -> None:
    assert order(late=(NOON + MINUTE, -1), early=(NOON, -1)) == ["early", "late"]


def test_a_thousand_slices_let_by_what_comes_while_they_run() -> None:
    train = (NOON + 10 * MINUTE, -1)
    assert order(slice_9=(NOON, 9), slice_11=(NOON, 11), slice_999=(NOON, 999), train=train) == [
        "slice_9", "train", "slice_11", "slice_999",
    ]  # fmt: skip


def test_runs_that_came_together_take_turns() -> None:
    first, second = NOON, NOON + timedelta(seconds=5)
    assert order(a0=(first, 0), a1=(first, 1), a2=(first, 2), b0=(second, 0), b1=(second, 1)) == [
        "a0", "b0", "a1", "b1", "a2",
    ]  # fmt: skip


@given(came=MOMENTS, extra=st.timedeltas(timedelta(0), timedelta(days=300)), index=st.integers(-1, 1023))
def test_the_wait_is_bounded_nothing_passes_a_slice_that_comes_later_than_its_place(
    came: datetime, extra: timedelta, index: int
) -> None:
    newcomer = came + max(0, index) * MINUTE + extra
    assert weight(newcomer, -1) <= weight(came, index)


@given(came=MOMENTS, index=st.integers(-1, 1023))
def test_the_weight_fits_the_databases_column(came: datetime, index: int) -> None:
    assert -(2**31) <= weight(came, index) < 0


def asked(dag_run: object, map_index: int = -1) -> int:
    task = SimpleNamespace(priority_weight=7, map_index=map_index)
    task_instance_mutation_hook(task, dag_run)
    return task.priority_weight


def run(queued: datetime | None, started: datetime | None = None) -> SimpleNamespace:
    return SimpleNamespace(queued_at=queued, start_date=started)


def test_a_run_that_waited_for_its_predecessor_came_when_it_began() -> None:
    assert asked(run(NOON, NOON + MINUTE)) == weight(NOON + MINUTE, -1)
    assert asked(run(NOON)) == weight(NOON, -1)


def test_a_task_keeps_its_place_when_airflow_asks_again() -> None:
    began = run(NOON, NOON)
    assert asked(began, 3) == asked(began, 3) == weight(NOON, 3)


@pytest.mark.parametrize("dag_run", [None, run(None)])
def test_a_task_of_which_no_run_is_known_yet_came_now(dag_run: object) -> None:
    before = weight(datetime.now(UTC), -1)
    assert weight(datetime.now(UTC), -1) <= asked(dag_run) <= before


def test_airflow_finds_both_hooks_where_the_chart_points_it_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(windtunnel.airflow.__file__).parent / "config"))
    # Not imported: what runs after this in the same process has no such settings.
    found = runpy.run_module("airflow_local_settings")
    assert found["task_instance_mutation_hook"] is task_instance_mutation_hook
    assert set(found["__all__"]) == {"pod_mutation_hook", "task_instance_mutation_hook"}

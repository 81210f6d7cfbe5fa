"""What nobody needs any more is taken out of the real object store, and what serves stays."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from dev.demo.ask import ask
from dev.demo.thread import asked_at
from tests.cluster.release import END, LIFECYCLE, Thread
from tests.cluster.served import Served
from tests.cluster.sweeping import OLD, SOMEBODYS

from windtunnel.records import read_records
from windtunnel.registry.bundle import read_bundle

if TYPE_CHECKING:
    from tests.cluster.sweeping import Sweep, Sweeps


def gone(sweep: Sweep) -> set[str]:
    return sweep.before - sweep.after


def test_a_dry_run_deletes_nothing_and_says_what_would_go(sweeps: Sweeps) -> None:
    assert gone(sweeps.dry) == set()
    assert sweeps.dry.facts["dry_run"] is True
    assert sweeps.dry.facts["swept"] == sweeps.real.facts["swept"]


def test_what_is_old_goes_and_nothing_else(sweeps: Sweeps) -> None:
    assert gone(sweeps.real) == set(OLD)
    assert SOMEBODYS in sweeps.real.after
    assert sweeps.real.facts["swept"] == {"predictions": {"objects": 2, "bytes": 6}}
    kept = sweeps.real.facts["kept"]
    assert {"bundles", "snapshots", "records", "logs", "cache", "partitions", "features", "other"} <= set(
        kept
    )


@pytest.mark.usefixtures("sweeps")
def test_what_serves_is_whole_and_answers(thread: Thread) -> None:
    champion = Served(thread.platform.kubectl, LIFECYCLE).spec["champion"]
    assert read_bundle(thread.platform.store, champion["bundle"], champion["digest"])
    assert ask(thread.platform, LIFECYCLE, asked_at(END))


def test_a_sweep_is_a_stage_in_a_pod_of_its_own_and_leaves_its_record(thread: Thread, sweeps: Sweeps) -> None:
    (task,) = sweeps.real.run.tasks
    assert task.task_id == f"retain.{LIFECYCLE}"
    assert task.state == "success"
    assert thread.pods.of(task).spec, "its label says whose spec it ran"
    (record,) = read_records(thread.platform.store, LIFECYCLE, sweeps.real.run.run_id)
    assert (record["stage"], record["outcome"], record["class"]) == ("retain", "success", "rollout")

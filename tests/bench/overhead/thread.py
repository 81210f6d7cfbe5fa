"""The thread's whole run with Airflow's own worker and with ours, stage by stage.

`python -m tests.bench.overhead.thread`: for each worker a release of its own on the one-node cluster, which
takes real flights through features and train twice. The second run is told: of other days, so that no stage
finds its work done, on a node that has the images' pages in memory. Needs what `make demo` needs, and takes
about ten minutes.
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

from dev.demo.follow import PodWatch
from dev.demo.thread import follow_triggered_train, load_sources, run_features
from tests.bench.growth.lifecycles import EXAMPLE
from tests.bench.overhead.figures import moment
from tests.bench.overhead.release import Release

if TYPE_CHECKING:
    from dev.demo.follow import Followed
    from dev.demo.thread import Platform

WORKERS = ("stock", "lean")
FIRST = (date(2013, 1, 1), date(2013, 2, 11))
SECOND = (date(2013, 4, 1), date(2013, 5, 12))


@dataclass(frozen=True)
class Task:
    """Moments of one task: queued, its process told to run, over."""

    stage: str
    queued: float
    started: float
    ended: float


Runs = dict[str, list[Task]]
"""The tasks of each DAG's run, in the order in which they began."""


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.overhead.thread", description=__doc__)
    parser.parse_args([] if arguments is None else arguments)
    runs: dict[str, Runs] = {}
    for worker in WORKERS:
        release = Release()
        try:
            with release.running(worker) as platform:
                _run(platform, *FIRST)
                runs[worker] = _run(platform, *SECOND)
        finally:
            release.remove()
    _print(runs)


def _run(platform: Platform, start: date, end: date) -> Runs:
    load_sources(platform, EXAMPLE, start, end)
    platform.api.wait_for_dag(f"{EXAMPLE}__train")
    pods = PodWatch(platform.kubectl, platform.stages)
    try:
        since = datetime.now(UTC)
        features = run_features(platform, pods, EXAMPLE, start, end)
        train = follow_triggered_train(platform, pods, EXAMPLE, since)
    finally:
        pods.close()
    return {"features": _tasks(platform, features), "train": _tasks(platform, train)}


def _tasks(platform: Platform, run: Followed) -> list[Task]:
    path = f"/dags/{run.dag_id}/dagRuns/{run.run_id}/taskInstances"
    rows = platform.api.call("GET", path, params={"limit": 100})["task_instances"]
    tasks = [
        Task(row["task_id"], *(moment(row[name]) for name in ("queued_when", "start_date", "end_date")))
        for row in rows
        if row["start_date"]
    ]
    return sorted(tasks, key=lambda task: task.started)


def _print(runs: dict[str, Runs]) -> None:
    print(f"\n| stage | pods | {' | '.join(f'{worker}: waits | runs' for worker in WORKERS)} |")
    print(f"|---|---:|{'---:|' * 2 * len(WORKERS)}")
    for dag, tasks in runs["lean"].items():
        for stage in dict.fromkeys(task.stage for task in tasks):
            of = {worker: [task for task in runs[worker][dag] if task.stage == stage] for worker in WORKERS}
            cells = [
                f"{statistics.median(task.started - task.queued for task in of[worker]):.1f} | "
                f"{statistics.median(task.ended - task.started for task in of[worker]):.1f}"
                for worker in WORKERS
            ]
            print(f"| {stage} | {len(of['lean'])} | {' | '.join(cells)} |")
    for dag in runs["lean"]:
        cells = [f"**{_whole(runs[worker][dag]):.1f}** | " for worker in WORKERS]
        print(f"| **{dag}, first queued to last ended** | | {' | '.join(cells)} |")


def _whole(tasks: list[Task]) -> float:
    return max(task.ended for task in tasks) - min(task.queued for task in tasks)


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])

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
from typing import TYPE_CHECKING, Any

from dev.demo.follow import PodWatch
from dev.demo.thread import follow_triggered_train, load_sources, run_features
from tests.bench.growth.lifecycles import EXAMPLE
from tests.bench.overhead.figures import moment
from tests.bench.overhead.release import Release

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dev.demo.follow import Followed
    from dev.demo.thread import Platform

WORKERS = ("stock", "lean")
FIRST = (date(2013, 1, 1), date(2013, 2, 11))
SECOND = (date(2013, 4, 1), date(2013, 5, 12))


@dataclass(frozen=True)
class Took:
    """Seconds of one task: from being queued to its code's process being told to run, and from there on."""

    stage: str
    waited: float
    ran: float


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.overhead.thread", description=__doc__)
    parser.parse_args([] if arguments is None else arguments)
    took: dict[str, tuple[list[Took], dict[str, float]]] = {}
    for worker in WORKERS:
        release = Release()
        try:
            with release.running(worker) as platform:
                _run(platform, *FIRST)
                took[worker] = _run(platform, *SECOND)
        finally:
            release.remove()
    _print(took)


def _run(platform: Platform, start: date, end: date) -> tuple[list[Took], dict[str, float]]:
    """What the tasks of features and train took, and each DAG run as a whole."""
    load_sources(platform, EXAMPLE, start, end)
    platform.api.wait_for_dag(f"{EXAMPLE}__train")
    pods = PodWatch(platform.kubectl, platform.stages)
    try:
        since = datetime.now(UTC)
        features = run_features(platform, pods, EXAMPLE, start, end)
        train = follow_triggered_train(platform, pods, EXAMPLE, since)
    finally:
        pods.close()
    runs = [_rows(platform, run) for run in (features, train)]
    return [_took(row) for rows in runs for row in rows], {
        "features": _whole(runs[0]),
        "train": _whole(runs[1]),
    }


def _rows(platform: Platform, run: Followed) -> list[dict[str, Any]]:
    """The tasks as Airflow tells them, in the order in which they began."""
    path = f"/dags/{run.dag_id}/dagRuns/{run.run_id}/taskInstances"
    rows: list[dict[str, Any]] = platform.api.call("GET", path, params={"limit": 100})["task_instances"]
    return sorted((row for row in rows if row["start_date"]), key=lambda row: str(row["start_date"]))


def _took(row: dict[str, Any]) -> Took:
    queued, started, ended = (moment(row[name]) for name in ("queued_when", "start_date", "end_date"))
    return Took(row["task_id"], started - queued, ended - started)


def _whole(rows: Iterable[dict[str, Any]]) -> float:
    """Seconds from the first task's queuing to the last one's end."""
    rows = list(rows)
    return max(moment(row["end_date"]) for row in rows) - min(moment(row["queued_when"]) for row in rows)


def _print(took: dict[str, tuple[list[Took], dict[str, float]]]) -> None:
    print(f"\n| stage | pods | {' | '.join(f'{worker}: waits | runs' for worker in WORKERS)} |")
    print(f"|---|---:|{'---:|' * 2 * len(WORKERS)}")
    lean = took["lean"][0]
    for stage in dict.fromkeys(task.stage for task in lean):
        cells = []
        for worker in WORKERS:
            of = [task for task in took[worker][0] if task.stage == stage]
            if of:
                waits, runs = zip(*((task.waited, task.ran) for task in of), strict=True)
                cells += [f"{statistics.median(waits):.1f}", f"{statistics.median(runs):.1f}"]
            else:
                cells += ["", ""]
        print(f"| {stage} | {sum(task.stage == stage for task in lean)} | {' | '.join(cells)} |")
    for name in ("features", "train"):
        cells = [f"**{took[worker][1][name]:.1f}** | " for worker in WORKERS]
        print(f"| **{name}, first queued to last ended** | | {' | '.join(cells)} |")


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])

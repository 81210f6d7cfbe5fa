"""What a stage costs before its own code runs: KubernetesPodOperator, ours with either worker, plain Airflow.

All on the one-node cluster, on the same images, one after the other; chains of ten tasks that do nothing, and
maps of ten and, once, of fifty, of which the scheduler runs sixteen at a time. Needs what `make demo` needs,
and takes about a quarter of an hour.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.bench.overhead import figures
from tests.bench.overhead.release import Release

if TYPE_CHECKING:
    from collections.abc import Sequence

    from windtunnel.cli.airflow_api import AirflowApi

HANG = 600.0
_WHOLE = ("start to start", "map of 10", "map of 50")
# Airflow's defaults, where our chart sets something else.
_AS_IT_COMES = (
    "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME=1",
    "AIRFLOW__KUBERNETES_EXECUTOR__WORKER_PODS_CREATION_BATCH_SIZE=1",
    "AIRFLOW__KUBERNETES_EXECUTOR__ASYNC_POD_CREATION=False",
)


@dataclass(frozen=True)
class Case:
    """A way to run the tasks: worker, stage class, and what the scheduler's environment has besides."""

    name: str
    worker: str
    stage_class: str
    scheduler: tuple[str, ...] = ()
    values: tuple[str, ...] = ()
    """Of the chart."""


# What changes the scheduler comes last: the chart does not know of it.
CASES = (
    Case("ours", "lean", "small"),
    Case("ours, stock worker", "stock", "small"),
    Case("KubernetesPodOperator", "stock", "pod"),
    Case(
        "Airflow as it comes",
        "stock",
        "stock",
        _AS_IT_COMES,
        # "t", for what looks like a boolean is one to helm.
        ("stages.env.AIRFLOW__METRICS__LEGACY_NAMES_ON=t",),
    ),
)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.overhead", description=__doc__)
    parser.add_argument("--rounds", type=int, default=2, help="chains and maps of each case")
    names = [case.name for case in CASES]
    parser.add_argument("--only", action="append", choices=names, help="one case, or several; default: all")
    options = parser.parse_args([] if arguments is None else arguments)
    cases = [case for case in CASES if case.name in (options.only or names)]
    release = Release()
    try:
        rows = {case.name: _measure(release, case, options.rounds) for case in cases}
    finally:
        release.remove()
    _print(rows)


def _measure(release: Release, case: Case, rounds: int) -> dict[str, float | None]:
    with release.running(case.worker, case.scheduler, case.values) as platform:
        api = platform.api
        for kind in ("chain", "map10", "map50"):
            api.wait_for_dag(f"{kind}_{case.stage_class}")
        _run(api, f"map10_{case.stage_class}")
        chains = [figures.chain(_run(api, f"chain_{case.stage_class}")) for _ in range(rounds)]
        maps = [figures.spread(_run(api, f"map10_{case.stage_class}")) for _ in range(rounds)]
        many = figures.spread(_run(api, f"map50_{case.stage_class}"))
    told = {name: _median([chain[name] for chain in chains]) for name in chains[0]}
    return {**told, "map10": statistics.median(maps), "map50": many}


def _run(api: AirflowApi, dag: str) -> list[figures.Step]:
    """Run a DAG to its end; its tasks in order."""
    run = api.call("POST", f"/dags/{dag}/dagRuns", json={"logical_date": None, "conf": {}})
    path = f"/dags/{dag}/dagRuns/{run['dag_run_id']}"
    deadline = time.monotonic() + HANG
    # Rarely: every call is the api-server's time, which the tasks need.
    while (state := api.call("GET", path)["state"]) not in ("success", "failed"):
        assert time.monotonic() < deadline, f"{dag} hangs"
        time.sleep(2)
    assert state == "success", f"{dag} failed: {path}"
    rows = api.call("GET", f"{path}/taskInstances", params={"limit": 100})["task_instances"]
    rows.sort(key=lambda row: (row["task_id"], row["map_index"]))
    return [figures.Step(row, _seen(api, path, row)) for row in rows]


def _seen(api: AirflowApi, path: str, row: dict[str, Any]) -> dict[str, Any] | None:
    if not row["operator"].startswith("Look"):
        return None
    entry = f"{path}/taskInstances/{row['task_id']}/xcomEntries/return_value"
    value = api.call("GET", entry, params={"map_index": row["map_index"]})["value"]
    return dict(value)


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def _print(rows: dict[str, dict[str, float | None]]) -> None:
    phases = ("total", *figures.PHASES)
    print(f"\n| | {' | '.join((*phases, 'CPU s', 'MiB', *_WHOLE))} |")
    print(f"|---|{'---:|' * (len(phases) + 5)}")
    for name, row in rows.items():
        memory = row.get("memory")
        cells = [_cell(row.get(phase)) for phase in phases] + [_cell(row.get("cpu"))]
        cells += [
            f"{memory / 2**20:.0f}" if memory else "",
            *map(_cell, (row["cycle"], row["map10"], row["map50"])),
        ]
        print(f"| {name} | {' | '.join(cells)} |")
    ours = rows.pop(CASES[0].name, {})
    for name, row in rows.items():
        print(
            f"ours takes {_ratio(ours, row, 'total')} of the seconds of {name} before a stage's code runs,\n"
            f"           {_ratio(ours, row, 'cycle')} from start to start"
        )


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _ratio(ours: dict[str, float | None], theirs: dict[str, float | None], name: str) -> str:
    mine, other = ours.get(name), theirs.get(name)
    return f"{mine / other:.2f}" if mine and other else "(unknown)"


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])

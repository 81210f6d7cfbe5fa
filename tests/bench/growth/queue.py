"""1,000 queued stages of two lifecycles on the one-node cluster, and a third that asks for one now and then.

`python -m tests.bench.growth.queue [--minutes 15]`. Two lifecycles ask for 500 shards of a batch scoring
each, the second a minute after the first; a third asks for one shard every two minutes. None has a model, so
each stage ends as soon as it has found that out: what is measured is who gets a place and when, and what
the queue costs the scheduler. It installs a release of its own, removes it, and stops after --minutes
whatever is left. Images are built anew with the lifecycles in them, which changes their last layer only.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from dev.demo.install import install
from dev.demo.target import dev_cluster
from dev.demo.thread import reach
from tests.bench.growth.lifecycles import beside_the_example

from windtunnel.cli.airflow_api import FINISHED

if TYPE_CHECKING:
    from dev.demo.kubectl import Kubectl
    from dev.demo.thread import Platform

RELEASE = NAMESPACE = "windtunnel-growth"
BIG, SMALL = ("bench_a", "bench_b"), "bench_small"
LATER = 60.0
"""Seconds from the first big run to the second."""
EVERY = 120.0
"""Seconds between two small runs."""
# Shared pages counted once, over all processes of the container.
_MEMORY = """
import glob, re
total = 0
for path in glob.glob("/proc/[0-9]*/smaps_rollup"):
    try:
        total += int(re.search(r"^Pss:\\s+(\\d+)", open(path).read(), re.M)[1])
    except (OSError, TypeError):
        pass
print(total)
"""


@dataclass
class Run:
    """A run that was asked for, and when."""

    lifecycle: str
    run_id: str
    asked: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def dag_id(self) -> str:
        return f"{self.lifecycle}__score"

    def waits(self, platform: Platform) -> list[float]:
        """Seconds from the asking to the start, of each stage that started, in the order of starting."""
        tasks = platform.api.task_runs(self.dag_id, self.run_id)
        return [(task.started - self.asked).total_seconds() for task in tasks if task.started]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.growth.queue", description=__doc__)
    parser.add_argument("--shards", type=int, default=500, help="of each of the two big runs (500)")
    parser.add_argument("--minutes", type=float, default=15.0, help="after which it stops (15)")
    options = parser.parse_args([] if arguments is None else arguments)
    with beside_the_example({**dict.fromkeys(BIG, options.shards), SMALL: 1}):
        target = dev_cluster()
        owner = target.kubectl.run(
            "get", "crd", "servedmodels.windtunnel.dev", "--ignore-not-found", "-o", "name"
        )
        try:
            install(target, RELEASE, NAMESPACE, *(("crds.install=false",) if owner.strip() else ()))
            with reach(target.kubectl, RELEASE, NAMESPACE) as platform:
                _measure(platform, options.minutes * 60)
        finally:
            for namespace in (NAMESPACE, f"{RELEASE}-stages"):
                target.kubectl.run(
                    "delete", "namespace", namespace, "--ignore-not-found", "--timeout=180s", timeout=200
                )


def _measure(platform: Platform, seconds: float) -> None:
    for lifecycle in (*BIG, SMALL):
        platform.api.wait_for_dag(f"{lifecycle}__score", 600)
    time.sleep(30)  # the scheduler has looked at all DAGs
    before = _memory(platform.kubectl)
    memory = [before]
    small: list[Run] = []
    began = time.monotonic()
    big = [_ask(platform, BIG[0])]
    while (passed := time.monotonic() - began) < seconds:
        if len(big) < len(BIG) and passed >= LATER:
            big.append(_ask(platform, BIG[1]))
        if passed >= LATER + EVERY * len(small):
            small.append(_ask(platform, SMALL))
        if len(big) == len(BIG) and all(
            platform.api.state(run.dag_id, run.run_id) in FINISHED for run in big
        ):
            break
        time.sleep(15)
        memory.append(_memory(platform.kubectl))
    _print(platform, big, small, memory, time.monotonic() - began)


def _ask(platform: Platform, lifecycle: str) -> Run:
    return Run(lifecycle, platform.api.trigger(f"{lifecycle}__score", {}))


def _memory(kubectl: Kubectl) -> float:
    """MiB of the scheduler's container."""
    where = ("-n", NAMESPACE, f"deployment/{RELEASE}-airflow-scheduler", "-c", "scheduler")
    return int(kubectl.run("exec", *where, "--", "python", "-c", _MEMORY)) / 1024


def _print(platform: Platform, big: list[Run], small: list[Run], memory: list[float], seconds: float) -> None:
    waits = [run.waits(platform) for run in big]
    started = sum(map(len, waits))
    rate = started / seconds * 60
    print(f"\nqueue: {started} stages started in {seconds / 60:.1f} min, {rate:.0f} a minute")
    for run, waited in zip(big, waits, strict=True):
        if waited:
            told = f"waited {statistics.median(waited):.0f} s (median), {max(waited):.0f} s (last)"
            print(f"  {run.lifecycle}: {len(waited)} started, {told}")
    first = [sum(wait <= seconds * part for wait in waits[0]) for part in (0.5, 1.0)]
    second = [
        sum(wait + LATER <= seconds * part for wait in (waits[1] if len(waits) > 1 else ()))
        for part in (0.5, 1.0)
    ]
    print(f"  started by half of the time and by the end: {first} of the first, {second} of the second")
    found = [wait for run in small for wait in run.waits(platform)[:1]]
    if found:
        print(
            f"  {SMALL}, one shard: {len(found)} of {len(small)} runs started, waited "
            f"{statistics.median(found):.0f} s (median), {max(found):.0f} s (longest)"
        )
    half = memory[len(memory) // 2 :]
    print(
        f"  scheduler: {memory[0]:.0f} MiB before, {max(memory):.0f} at most, {statistics.median(half):.0f} "
        f"(median of the second half), {memory[-1]:.0f} at the end"
    )


if __name__ == "__main__":
    main(sys.argv[1:])

"""What is kept, looked at and swept once for all tests, with something old among it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dev.demo.follow import follow
from tests.cluster.release import LIFECYCLE

from windtunnel.spec.stages import RETAIN_DAG

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dev.demo.follow import Followed
    from tests.cluster.release import Thread

OLD = tuple(f"{LIFECYCLE}/predictions/2020-01-0{day}/10/pod-00000000-{'a' * 16}.parquet" for day in (1, 2))
"""Older than the example's predictionDays."""
SOMEBODYS = f"{LIFECYCLE}/predictions/2020-01-01/notes.txt"


@dataclass(frozen=True)
class Sweep:
    """One run of the DAG; `before` and `after` are the lifecycle's keys."""

    before: set[str]
    run: Followed
    facts: Mapping[str, Any]
    after: set[str]


@dataclass(frozen=True)
class Sweeps:
    dry: Sweep
    real: Sweep


def sweeps(thread: Thread) -> Sweeps:
    """A look first, then the sweep."""
    for key in (*OLD, SOMEBODYS):
        thread.platform.store.put(key, b"log")
    return Sweeps(_sweep(thread, dry_run=True), _sweep(thread))


def _sweep(thread: Thread, **params: Any) -> Sweep:
    platform = thread.platform
    platform.api.wait_for_dag(RETAIN_DAG)
    before = _keys(thread)
    run_id = platform.api.trigger(RETAIN_DAG, params)
    run = follow(platform, thread.pods, RETAIN_DAG, run_id)
    facts = platform.api.result(RETAIN_DAG, run_id, f"retain.{LIFECYCLE}")["facts"]
    return Sweep(before, run, facts, _keys(thread))


def _keys(thread: Thread) -> set[str]:
    return {entry.key for entry in thread.platform.store.list(LIFECYCLE)}

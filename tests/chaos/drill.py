"""One real rollout through Airflow, under traffic, with faults in it."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from load import steady
from tests.chaos.faults import Injector
from tests.chaos.verdict import judge
from tests.cluster.release import END, LIFECYCLE

from windtunnel.cli.airflow_api import FINISHED
from windtunnel.errors import WindtunnelError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from dev.demo.thread import Platform
    from tests.chaos.plan import Fault
    from tests.cluster.served import Served

DAG: Final = f"{LIFECYCLE}__train"
RATE: Final = 50.0
ANNOTATION: Final = "windtunnel.dev/rollback"
_LONGEST_RUN: Final = 900.0


@dataclass
class Drill:
    """What happened."""

    run_id: str
    began: float
    state: str = ""
    action: str = ""
    seconds: float = 0.0
    injected: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    requests: int = 0
    traffic: str = ""

    def __str__(self) -> str:
        lines = [
            f"{self.run_id}: {self.action}, {self.state} after {self.seconds:.0f} s, {self.requests} requests"
        ]
        lines += [f"    hit: {fault}" for fault in self.injected]
        lines += [f"    missed: {fault}" for fault in self.missed]
        lines += [f"    PROBLEM: {problem}" for problem in self.problems]
        return "\n".join(lines)


def older_version(platform: Platform, model: Served) -> str:
    """A version that has learnt a day less than the newest one takes the seat; its name.

    The gate lets the newest one follow on it, as often as it is rolled back. Nothing is trained twice.
    """
    platform.api.unpause(DAG)
    run_id = platform.api.trigger(DAG, {"end": (END - timedelta(days=1)).isoformat()})
    for state, _ in platform.api.watch(DAG, run_id):
        assert state != "failed", f"{run_id} failed"
    outputs = platform.api.result(DAG, run_id, "train")["outputs"]
    version, bundle = outputs["model"]["meta"]["version"], outputs["bundle"]
    model.patch({"champion": {"version": version, "bundle": bundle["uri"], "digest": bundle["digest"]}})
    model.wait(f"version {version} serves", lambda: model.status.get("champion") == version)
    return str(version)


def drill(
    platform: Platform,
    model: Served,
    bodies: Sequence[dict[str, Any]],
    faults: Sequence[Fault],
    older: str,
) -> Drill:
    """Roll back to the older version, and the newest one out again, through Airflow and with these faults;
    returns when it is over and judged."""
    with steady(model.address(), model.infer, bodies, RATE) as load:
        model.annotate(ANNOTATION, older)
        model.wait(f"version {older} serves", lambda: model.status.get("champion") == older)
        run = Drill(platform.api.trigger(DAG, {"end": END.isoformat()}), time.time())
        watch = _Watch(platform, run.run_id)
        injector = Injector(platform.kubectl, model.name)
        threads = [threading.Thread(target=_hit, args=(injector, fault, watch, run)) for fault in faults]
        for thread in threads:
            thread.start()
        run.state = watch.until_ended()
        for thread in threads:
            thread.join()
        run.seconds = time.time() - run.began
        outcome = judge(platform, model, run.run_id)
    run.action, run.requests, run.traffic = outcome.action, len(load.asked), load.report()
    run.problems += outcome.problems
    if run.state != "success":
        run.problems.append(f"the run is {run.state}: {watch.failed()}")
    if load.failures:
        run.problems.append(f"requests failed:\n{load.report()}")
    return run


class _Watch:
    """When the stages of a run begin; Airflow may be away at times."""

    def __init__(self, platform: Platform, run_id: str) -> None:
        self._platform = platform
        self._run_id = run_id
        self._begun: dict[str, threading.Event] = {
            name: threading.Event() for name in ("evaluate", "rollout")
        }
        self.ended = threading.Event()

    def until_ended(self) -> str:
        """The run's last state."""
        deadline = time.monotonic() + _LONGEST_RUN
        state = ""
        while state not in FINISHED and time.monotonic() < deadline:
            try:
                state = self._platform.api.state(DAG, self._run_id)
                for task in self._platform.api.task_runs(DAG, self._run_id):
                    if task.task_id in self._begun and task.started:
                        self._begun[task.task_id].set()
            except WindtunnelError:
                continue
            time.sleep(0.5)
        self.ended.set()
        return state or "unknown"

    def wait(self, stage: str) -> bool:
        """Whether the stage began at all."""
        while not self._begun[stage].wait(0.1):
            if self.ended.is_set():
                return False
        return True

    def failed(self) -> str:
        """The tasks that failed, and what they said last."""
        texts = []
        for task in self._platform.api.task_runs(DAG, self._run_id):
            if task.state not in ("success", "skipped"):
                lines = self._platform.api.log(DAG, self._run_id, task)[-15:] if task.try_number else []
                texts.append("\n".join([f"{task.name} {task.state}, try {task.try_number}", *lines]))
        return "\n".join(texts)


def _hit(injector: Injector, fault: Fault, watch: _Watch, run: Drill) -> None:
    """Wait for the fault's moment, and let it happen; faults after the run's end are none."""
    if not watch.wait(fault.stage) or watch.ended.wait(fault.after):
        run.missed.append(str(fault))
        return
    at = time.time() - run.began
    try:
        hit = injector.inject(fault)
    except Exception as error:
        run.problems.append(f"the harness failed at {fault}: {error}")
        return
    (run.injected if hit else run.missed).append(f"{at:6.1f} s: {fault}")

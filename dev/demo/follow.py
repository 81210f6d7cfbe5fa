"""Follow a DAG run live: which stage, in which pod, for how long; and say why when it fails."""

from __future__ import annotations

import subprocess
import threading
import time
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.live import Live
from rich.table import Table

from windtunnel.cli.airflow_api import FINISHED, TaskRun

from .console import DemoError, console
from .install import explain

if TYPE_CHECKING:
    from .kubectl import Kubectl
    from .thread import Platform

RUN_SECONDS = 1800
STATE_STYLES = {
    "success": "green",
    "failed": "red",
    "running": "yellow",
    "skipped": "dim",
    "up_for_retry": "magenta",
}


@dataclass(frozen=True)
class PodSeen:
    """A stage pod as the watch saw it; it may be gone by now."""

    name: str
    node: str
    image: str
    spec: str
    """The digest of the lifecycle's spec, as the pod's label has it."""
    waiting: str


class PodWatch:
    """Remembers every pod of a namespace from now on; worker pods are deleted as soon as they end."""

    FORMAT = (
        "jsonpath={.metadata.name}|{.spec.nodeName}|{.spec.containers[0].image}|{.metadata.labels.windtunnel\\.dev/spec}"
        "|{.status.containerStatuses[0].state.waiting.reason}{'\\n'}"
    )

    def __init__(self, kubectl: Kubectl, namespace: str) -> None:
        self.seen: dict[str, PodSeen] = {}
        self._argv = kubectl.argv("get", "pods", "-n", namespace, "--watch", "-o", self.FORMAT)
        self._process: subprocess.Popen[str] | None = None
        self._stopped = threading.Event()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        while not self._stopped.is_set():  # the API server closes watches now and then
            self._process = subprocess.Popen(
                self._argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            )
            assert self._process.stdout is not None
            for line in self._process.stdout:
                seen = PodSeen(*line.rstrip("\n").split("|"))
                self.seen[seen.name] = seen
            self._process.wait()
            self._stopped.wait(1)

    def of(self, task: TaskRun) -> PodSeen:
        """The pod that ran a task; its fields are empty where the watch came too late."""
        return self.seen.get(task.pod, PodSeen(task.pod, "", "", "", ""))

    def close(self) -> None:
        self._stopped.set()
        if self._process:
            self._process.terminate()


@dataclass(frozen=True)
class Followed:
    """One run as a whole: its tasks as they ended."""

    dag_id: str
    run_id: str
    tasks: tuple[TaskRun, ...]


def follow(platform: Platform, pods: PodWatch, dag_id: str, run_id: str) -> Followed:
    """Show the run until it ends. Raises DemoError with the failed stage's log and its pod's events."""
    begun = time.monotonic()
    said: dict[str, str] = {}
    state = ""
    tasks: list[TaskRun] = []
    with Live(console=console, refresh_per_second=4) if console.is_terminal else nullcontext() as live:
        for state, tasks in platform.api.watch(dag_id, run_id):
            if live:
                live.update(_table(dag_id, tasks, pods))
            else:
                _say_changes(tasks, said, pods, time.monotonic() - begun)
            if state not in FINISHED and time.monotonic() - begun > RUN_SECONDS:
                why = explain(platform.kubectl, platform.stages)
                raise DemoError(f"{dag_id} still {state} after {RUN_SECONDS} s\n{why}")
    if state == "failed":
        raise DemoError(_failure(platform, dag_id, run_id, tasks))
    return Followed(dag_id, run_id, tuple(tasks))


def _table(dag_id: str, tasks: list[TaskRun], pods: PodWatch) -> Table:
    table = Table(title=dag_id, title_justify="left", box=None, pad_edge=False)
    for column in ("stage", "state", "seconds", "try", "pod"):
        table.add_column(column, justify="right" if column in ("seconds", "try") else "left")
    for task in tasks:
        seen = pods.seen.get(task.pod)
        note = f" ({seen.waiting})" if seen and seen.waiting and task.state not in FINISHED else ""
        style = STATE_STYLES.get(task.state, "dim")
        seconds = f"{task.seconds:.1f}" if task.started else ""
        table.add_row(
            task.name,
            f"[{style}]{task.state}[/]{note}",
            seconds,
            str(task.try_number or ""),
            task.pod,
        )
    return table


def _say_changes(tasks: list[TaskRun], said: dict[str, str], pods: PodWatch, seconds: float) -> None:
    for task in tasks:
        text = f"{task.state}|{task.try_number}"
        if said.get(task.name) != text and task.state not in ("waiting", "scheduled"):
            said[task.name] = text
            took = f"{task.seconds:6.1f} s" if task.state in FINISHED else " " * 8
            console.print(f"  [dim]{seconds:4.0f} s[/] {task.name:32} {task.state:10} {took} {task.pod}")
    if not any(task.state == "running" for task in tasks):
        for seen in list(pods.seen.values()):
            if seen.waiting and said.get(seen.name) != seen.waiting:
                said[seen.name] = seen.waiting
                console.print(f"  [dim]{seconds:4.0f} s[/] pod {seen.name}: {seen.waiting}")


def _failure(platform: Platform, dag_id: str, run_id: str, tasks: list[TaskRun]) -> str:
    parts = [f"{dag_id} run {run_id} failed"]
    for task in tasks:
        if task.state != "failed":
            continue
        log = platform.api.log(dag_id, run_id, task)
        parts.append(
            f"stage {task.name}, try {task.try_number}, pod {task.pod or '(never started)'}; its last lines:"
        )
        parts += [f"    {line}" for line in log[-25:]]
        parts.append(explain(platform.kubectl, platform.stages, only=task.pod))
    return "\n".join(parts)

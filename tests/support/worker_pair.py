"""An executor for tests: every try is a process that is started as the executor of Kubernetes starts a pod's.

A run whose id begins with `lean` gets the lean worker, any other the stock one. A file `end-<task>` in the
working directory ends the try of that task as Kubernetes ends a pod: SIGTERM.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.executors.base_executor import BaseExecutor

if TYPE_CHECKING:
    from collections.abc import Sequence

ENDED = "ended.jsonl"
"""A line for each process: run, task, map index, try, exit code."""
PODS = "pod-*"
"""A directory for each process, what would be its container's."""
_LEAN = ("-m", "windtunnel.airflow.worker")
# Of the control plane's environment; a pod has none of them.
_CONTROL_PLANE = (
    "AIRFLOW__API",
    "AIRFLOW__CORE__EXECUTOR",
    "AIRFLOW__DATABASE__",
    "AIRFLOW__SCHEDULER__",
    "_AIRFLOW_PROCESS_CONTEXT",
)


class WorkerPair(BaseExecutor):  # type: ignore[misc]
    def start(self) -> None:
        self._processes: dict[Any, subprocess.Popen[bytes]] = {}

    def _process_workloads(self, workload_items: Sequence[Any]) -> None:
        for workload in workload_items:
            del self.queued_tasks[workload.key]
            if (earlier := self._processes.get(workload.key)) is not None:
                # A deferred task goes on by the same key; the process that put it off may not be over yet.
                _note(workload.key, earlier.wait())
            self.running.add(workload.key)
            self._processes[workload.key] = _start(workload)

    def sync(self) -> None:
        for key, process in list(self._processes.items()):
            code = process.poll()
            if code is None:
                self._end_when_asked(key, process)
                continue
            del self._processes[key]
            _note(key, code)
            # As of a pod: its phase says nothing about the task, which the worker told the API.
            (self.success if code == 0 else self.fail)(key, f"exit code {code}")

    def end(self) -> None:
        self.terminate()

    def terminate(self) -> None:
        for process in self._processes.values():
            process.kill()

    def _end_when_asked(self, key: Any, process: subprocess.Popen[bytes]) -> None:
        asked = Path(f"end-{key.run_id}-{key.task_id}")
        if asked.exists():
            asked.unlink()
            process.terminate()


def _note(key: Any, code: int) -> None:
    with Path(ENDED).open("a") as ended:
        print(json.dumps([key.run_id, key.task_id, key.map_index, key.try_number, code]), file=ended)


def _start(workload: Any) -> subprocess.Popen[bytes]:
    given = ["python", "-m", "airflow.sdk.execution_time.execute_workload", "--json-string"]
    command = [*given, workload.model_dump_json()]
    home = tempfile.mkdtemp(prefix=PODS.removesuffix("*"), dir=Path.cwd())
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(_CONTROL_PLANE)
    } | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "AIRFLOW_HOME": f"{home}/airflow",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "INFO",
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": f"{home}/airflow/logs",
        "AIRFLOW__LOGGING__LOGGING_CONFIG_CLASS": "windtunnel.airflow.task_log.LOGGING_CONFIG",
    }
    if workload.ti.run_id.startswith("lean"):
        command = [sys.executable, *_LEAN, *command]
    with Path(home, "output").open("wb") as output:
        return subprocess.Popen(
            command,
            executable=sys.executable,
            cwd=home,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )

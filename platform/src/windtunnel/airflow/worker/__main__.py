"""`python -m windtunnel.airflow.worker COMMAND…`: run the task that a worker's command is about.

The command is the one that Airflow's executor gives to a worker pod: `python -m
airflow.sdk.execution_time.execute_workload --json-string WORKLOAD`. What is no task of a Python file is left
to that command itself.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windtunnel.airflow.worker import messages, stand_ins, tested
from windtunnel.errors import PermanentError

if TYPE_CHECKING:
    from collections.abc import Sequence

_OPTION = "--json-string"
_TERMINATION_MESSAGE = Path("/dev/termination-log")
"""What is written here Kubernetes keeps as the reason of the container's end, and the pod watch passes on."""


def main(command: Sequence[str]) -> int:
    """The exit code. Does not return where the command itself is left to do it."""
    workload = _task_of(command)
    if workload is None:
        os.execvp(command[0], list(command))
    # What is imported lives as long as the process; looking for garbage in it is a tenth of the time.
    gc.disable()
    try:
        tested.check_versions()
        with messages.made_when_needed():
            stand_ins.install()
            tested.check_settings()
            from windtunnel.airflow.worker.supervise import supervise
    except PermanentError as error:
        _refuse(str(error))
        return 1
    supervise(workload)
    # As Airflow's own worker, also when the task failed, or its process was killed: a pod that fails is one
    # whose worker could not do its work, and its watcher tells of that.
    return 0


def _task_of(command: Sequence[str]) -> dict[str, Any] | None:
    """The workload of a command, where it is a task of a Python file."""
    if _OPTION not in command[:-1]:
        return None
    workload = json.loads(command[command.index(_OPTION) + 1])
    is_task = workload.get("type") == "ExecuteTask" and str(workload.get("dag_rel_path")).endswith(".py")
    return workload if is_task else None


def _refuse(why: str) -> None:
    print(why, file=sys.stderr)
    with suppress(OSError):
        _TERMINATION_MESSAGE.write_text(why)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

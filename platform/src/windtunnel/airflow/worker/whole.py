"""For what needs more than the stand-ins: the task's process begins again, with all of Airflow."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from airflow.sdk import plugins_manager
from airflow.sdk.execution_time import task_runner

from windtunnel.airflow.worker.dag_file import UnreadableError

if TYPE_CHECKING:
    from airflow.sdk.execution_time.comms import StartupDetails

_GO_ON = "from airflow.sdk.execution_time.task_runner import main; main()"
_lean_parse = task_runner.parse


def install() -> None:
    task_runner.parse = parse


def parse(what: StartupDetails, log: Any) -> Any:
    """As the task runner's own. Does not return where the file, or a plugin, cannot be read here."""
    if unread := unread_plugins():
        log.info("All of Airflow is loaded for plugins, which takes seconds more", why=unread)
        _go_on(what)
    try:
        return _lean_parse(what, log)
    except UnreadableError as error:
        log.info("All of Airflow is loaded for this DAG file, which takes seconds more", why=str(error))
        _go_on(what)


def unread_plugins() -> dict[str, str]:
    """Why, by plugin. They are read already: the task runner has just told their listeners of its start."""
    return plugins_manager._get_plugins()[1]


def _go_on(what: StartupDetails) -> None:
    """As the task runner does for `run_as_user`: the same process, begun again with what it was told."""
    os.environ |= {"_AIRFLOW__REEXECUTED_PROCESS": "1", "_AIRFLOW__STARTUP_MSG": what.model_dump_json()}
    os.set_inheritable(task_runner.SUPERVISOR_COMMS.socket.fileno(), True)
    os.execv(sys.executable, [sys.executable, "-c", _GO_ON])

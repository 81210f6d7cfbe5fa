"""Task logs in the object store: keys, as a stock api-server finds them by REMOTE_BASE_LOG_FOLDER."""

from __future__ import annotations

PREFIX = "logs"
POD_LOGGER = "windtunnel.pods"
"""The `logger` of lines that tell how a try's pod died."""


def dag_folder(dag_id: str) -> str:
    """The folder of all logs of a DAG; below it are `run_id=…` and `task_id=…`."""
    return f"{PREFIX}/dag_id={dag_id}"


def log_key(dag_id: str, run_id: str, task_id: str, map_index: int | None, try_number: int) -> str:
    """The log of a try: Airflow's default `log_filename_template`."""
    parts = [f"run_id={run_id}", f"task_id={task_id}"]
    if map_index is not None:
        parts.append(f"map_index={map_index}")
    return "/".join([dag_folder(dag_id), *parts, f"attempt={try_number}.log"])


def pod_log_key(log: str) -> str:
    """Where something is said about a try's pod from outside; who reads the log `log` reads what begins with
    its name, too.
    """
    return f"{log}.pod.log"

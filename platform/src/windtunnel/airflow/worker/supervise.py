"""From a workload to the task SDK's supervisor. Imported after the stand-ins: it imports Airflow."""

from __future__ import annotations

import gc
import ssl
import sys
from typing import Any

import structlog
from airflow.sdk.api.client import Client
from airflow.sdk.api.datamodels._generated import BundleInfo, TaskInstance
from airflow.sdk.configuration import conf
from airflow.sdk.execution_time.supervisor import supervise_task
from airflow.sdk.log import configure_logging
from setproctitle import setproctitle

# Before the fork, with the task runner, which the task's process would else import after it.
from windtunnel.airflow.worker import whole

log = structlog.get_logger(logger_name=__name__)


def supervise(workload: dict[str, Any]) -> None:
    """Run an ExecuteTask workload to its end, which Airflow's API is told of."""
    configure_logging(output=sys.stdout.buffer, json_output=True)
    # The workload has more, about queueing, which is left out here.
    task = TaskInstance.model_validate(workload["ti"])
    setproctitle(f"airflow supervisor: {task.id}")
    log.info(
        "Executing workload", worker="lean", dag_id=task.dag_id, task_id=task.task_id, run_id=task.run_id
    )
    whole.install()
    server = conf.get_mandatory_value("core", "execution_api_server_url")
    if server.startswith("http://"):
        _trust_nobody()
    gc.freeze()
    gc.enable()
    supervise_task(
        ti=task,
        # Said to be of the core, and the same.
        bundle_info=BundleInfo.model_validate(workload["bundle_info"]),  # type: ignore[arg-type]
        dag_rel_path=workload["dag_rel_path"],
        token=workload["token"],
        server=server,
        log_path=workload["log_path"],
        subprocess_logs_to_stdout=True,
        sentry_integration=workload.get("sentry_integration", ""),
    )


def _trust_nobody() -> None:
    """The client reads the certificates that it trusts, a twentieth of a worker's start, also where nothing
    is encrypted."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    Client._get_ssl_context_cached = staticmethod(lambda *_: context)  # type: ignore[method-assign]

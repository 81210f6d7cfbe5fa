"""A real Airflow on SQLite in a process of its own: scheduler and both APIs; deferred tasks go on at once.

`python real_airflow.py PORT` runs one in the working directory; `real_airflow` starts that.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

USERNAME, PASSWORD = "admin", "of-a-test"
BUNDLE = "work"
_SECONDS_TO_START = 1200
"""More than that is for ever; on an idle machine it is ten."""


@contextmanager
def real_airflow(directory: Path, bundles: Path, environment: Mapping[str, str]) -> Iterator[str]:
    """Its URL, once its DAGs, those of the newest folder in `bundles`, can be run.

    `environment` is what it and the workers get besides. The workers of worker_pair do the tasks.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    (directory / "passwords.json").write_text(json.dumps({USERNAME: PASSWORD}))
    with (directory / "airflow.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, __file__, str(port)],
            cwd=directory,
            env=os.environ | _environment(directory, bundles, url) | environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            deadline = time.monotonic() + _SECONDS_TO_START
            while not (directory / "ready").exists():
                said = (directory / "airflow.log").read_text()[-4000:]
                assert process.poll() is None, f"Airflow ended: {said}"
                assert time.monotonic() < deadline, f"Airflow does not start: {said}"
                time.sleep(0.1)
            yield url
        finally:
            process.kill()
            process.wait()


def _environment(directory: Path, bundles: Path, url: str) -> dict[str, str]:
    support, source = Path(__file__).parent, Path(__file__).parents[2] / "platform" / "src"
    bundle = {
        "name": BUNDLE,
        "classpath": "versioned_bundle.VersionedBundle",
        "kwargs": {"root": str(bundles)},
    }
    return {
        "PYTHONPATH": f"{source}{os.pathsep}{support}",
        "AIRFLOW_HOME": str(directory / "home"),
        "AIRFLOW__API__BASE_URL": url,
        "AIRFLOW__API__SECRET_KEY": "of-a-test" * 8,
        "AIRFLOW__API_AUTH__JWT_SECRET": "of-a-test" * 8,
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
        "AIRFLOW__CORE__EXECUTOR": "worker_pair.WorkerPair",
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__PARALLELISM": "2",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(directory / "passwords.json"),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USERNAME}:admin",
        "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps([bundle]),
        "AIRFLOW__DATABASE__LOAD_DEFAULT_CONNECTIONS": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{directory}/airflow.db",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "1200",
        # A busy machine is no reason to give up.
        "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "60",
        "AIRFLOW__WORKERS__MAX_FAILED_HEARTBEATS": "60",
        # A task that is ended from outside hears of it with its next heartbeat.
        "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
    }


def _run(port: int) -> None:
    import uvicorn
    from airflow.api_fastapi.app import create_app
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.dag_processing.dagbag import BundleDagBag, sync_bag_to_db
    from airflow.jobs.job import Job, run_job
    from airflow.jobs.scheduler_job_runner import SchedulerJobRunner
    from airflow.utils.db import initdb

    initdb()
    bundles = DagBundlesManager()
    bundles.sync_bundles_to_db()
    bundle = bundles.get_bundle(BUNDLE)
    bag = BundleDagBag(bundle.path, bundle_path=bundle.path, bundle_name=BUNDLE, safe_mode=False)
    assert bag.dags, bag.import_errors
    sync_bag_to_db(bag, BUNDLE, bundle.get_current_version())
    server = uvicorn.Server(uvicorn.Config(create_app(), port=port, log_level="warning", lifespan="on"))
    threading.Thread(target=server.run, daemon=True).start()
    while not server.started:
        time.sleep(0.05)
    threading.Thread(target=_fire_triggers, daemon=True).start()
    Path("ready").touch()
    scheduler = SchedulerJobRunner(job=Job())
    run_job(job=scheduler.job, execute_callable=scheduler._execute)


def _fire_triggers() -> None:
    """What a triggerer does whose triggers are due."""
    from airflow.models import Trigger
    from airflow.triggers.base import TriggerEvent
    from airflow.utils.session import create_session
    from sqlalchemy import select

    while True:
        with create_session() as session:
            for trigger in session.scalars(select(Trigger.id)).all():
                Trigger.submit_event(trigger, TriggerEvent("due"), session=session)
        time.sleep(1)


if __name__ == "__main__":
    _run(int(sys.argv[1]))

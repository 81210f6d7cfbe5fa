"""A plugin of Airflow's that the lean worker cannot read: its listeners must not be lost."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).parents[3] / "platform" / "src"
PLUGIN = """\
from airflow.models.variable import Variable
from airflow.plugins_manager import AirflowPlugin
class Team(AirflowPlugin):
    name = "team"
"""
# The task runner up to where it would read the DAG file.
TASK = """\
import os, socket, sys
from types import SimpleNamespace
from windtunnel.airflow.worker import stand_ins
stand_ins.install()
import structlog
from airflow.sdk.execution_time import task_runner
from windtunnel.airflow.worker import whole
whole.install()
def execv(path, command):
    assert os.environ["_AIRFLOW__STARTUP_MSG"] == "what the supervisor told", os.environ
    sys.exit(f"became {command[2]}")
whole.os.execv = execv
task_runner.SUPERVISOR_COMMS = SimpleNamespace(socket=socket.socketpair()[0])
told = SimpleNamespace(model_dump_json=lambda: "what the supervisor told")
task_runner.parse(told, structlog.get_logger())
"""


def test_the_task_of_a_plugin_that_needs_all_of_airflow_gets_it(tmp_path: Path) -> None:
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "team.py").write_text(PLUGIN)
    done = subprocess.run(
        [sys.executable, "-c", TASK],
        env=os.environ | {"PYTHONPATH": str(SOURCE), "AIRFLOW_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "became from airflow.sdk.execution_time.task_runner import main; main()" in done.stderr
    assert "All of Airflow is loaded for plugins" in done.stdout
    assert "set stages.worker to stock" in done.stdout, "the reason names what was missing"

"""Airflow's own client, the statsd exporter as it is built for our cluster, and the mapping between."""

from __future__ import annotations

import contextlib
import http.client
import socket
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from promtool import lint
from waiting import HANG, until

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[3]
MAPPING = ROOT / "charts/windtunnel/files/statsd-mapping.yaml"
ENVIRONMENT = ROOT / "charts/windtunnel/templates/airflow/_env.tpl"


def free_port(kind: socket.SocketKind) -> int:
    with socket.socket(socket.AF_INET, kind) as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


@pytest.fixture(scope="module")
def program() -> str:
    tool = [sys.executable, str(ROOT / "dev/cluster/cluster.py")]
    subprocess.run([*tool, "build", "statsd_exporter"], check=True)
    return subprocess.run(
        [*tool, "path", "statsd_exporter"], check=True, capture_output=True, text=True
    ).stdout.strip()


class Exporter:
    def __init__(self, udp: int, web: int) -> None:
        self.udp = udp
        self.web = web

    def page(self) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", self.web, timeout=HANG)
        with contextlib.closing(connection):
            connection.request("GET", "/metrics")
            return connection.getresponse().read().decode()

    def samples(self) -> dict[tuple[str, ...], float]:
        """Of Airflow's metrics: value by name and `label=value`s."""
        return {
            (sample.name, *(f"{name}={value}" for name, value in sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(self.page())
            for sample in family.samples
            if sample.name.startswith("airflow_") or "dropped" in sample.name
        }


@pytest.fixture(scope="module")
def exporter(program: str) -> Iterator[Exporter]:
    found = Exporter(free_port(socket.SOCK_DGRAM), free_port(socket.SOCK_STREAM))
    command = [
        program, f"--statsd.mapping-config={MAPPING}", f"--statsd.listen-udp=127.0.0.1:{found.udp}",
        "--statsd.listen-tcp=", f"--web.listen-address=127.0.0.1:{found.web}",
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            until(lambda: _answers(found))
            yield found
        finally:
            process.terminate()


def _answers(exporter: Exporter) -> bool:
    try:
        return bool(exporter.page())
    except OSError:
        return False


@pytest.fixture(scope="module")
def sent(exporter: Exporter) -> dict[tuple[str, ...], float]:
    """What is shown after Airflow's client, set up as the chart does, has sent some of everything."""
    disabled = next(
        line.split(": ")[1]
        for line in ENVIRONMENT.read_text().splitlines()
        if line.startswith("AIRFLOW__METRICS__STATSD_DISABLED_TAGS")
    )
    from airflow._shared.observability.metrics.statsd_logger import get_statsd_logger
    from statsd import StatsClient

    stats = get_statsd_logger(
        stats_class=StatsClient,
        host="127.0.0.1",
        port=exporter.udp,
        prefix="airflow",
        influxdb_tags_enabled=True,
        statsd_disabled_tags=disabled,
        statsd_influxdb_enabled=True,
    )
    stats.incr("scheduler_heartbeat", 1, 1)
    stats.incr("scheduler_heartbeat", 1, 1)
    executor = {"status": "open", "executor_class_name": "KubernetesExecutor"}
    stats.gauge("executor.open_slots", 8, tags=executor)
    stats.gauge("pool.open_slots", 128, tags={"pool_name": "default_pool"})
    run = {"dag_id": "flight_delay__train", "run_type": "manual"}
    stats.timing("dagrun.duration.success", timedelta(seconds=100), tags=run)
    stats.timing("dagrun.duration.failed", timedelta(seconds=1), tags=run)
    task = {**run, "task_id": "extract.slice", "queue": "default"}
    stats.timing("task.scheduled_duration", timedelta(seconds=2), tags=task)
    stats.incr("scheduler.tasks.killed_externally", tags=task)
    stats.gauge("dag_processing.import_errors", 1)
    stats.incr("kubernetes_executor.pod_creation_status", tags={"status": "200"})
    # And some that nobody asked for.
    stats.incr("ti.start", tags=task)
    stats.gauge("dag_processing.last_run.seconds_ago", 3, tags={"file_path": "a.py", "bundle_name": "dags"})
    stats.timing("dagrun.flight_delay__train.first_task_scheduling_delay", timedelta(seconds=1), tags=run)
    # The last to be sent is the last to be shown.
    stats.gauge("dagbag_size", 4)
    until(lambda: ("airflow_dags",) in exporter.samples())
    return exporter.samples()


def test_counters_gauges_and_histograms_come_under_their_names(sent: dict[tuple[str, ...], float]) -> None:
    dag = "dag_id=flight_delay__train"
    expected = {
        ("airflow_scheduler_heartbeat_total",): 2,
        ("airflow_executor_open_slots", "status=open"): 8,
        ("airflow_pool_open_slots", "pool_name=default_pool"): 128,
        ("airflow_dagrun_seconds_sum", dag, "state=success"): 100,
        ("airflow_dagrun_seconds_count", dag, "state=failed"): 1,
        ("airflow_dagrun_seconds_bucket", dag, "le=60", "state=success"): 0,
        ("airflow_dagrun_seconds_bucket", dag, "le=300", "state=success"): 1,
        ("airflow_scheduler_tasks_killed_externally_total", dag, "task_id=extract.slice"): 1,
        ("airflow_dag_processing_import_errors",): 1,
        ("airflow_kubernetes_pod_creations_total", "status=200"): 1,
        ("airflow_dags",): 4,
    }
    assert {key: sent.get(key) for key in expected} == expected


def test_a_task_does_not_become_a_histogram_of_its_own(sent: dict[tuple[str, ...], float]) -> None:
    queued = {key[1:] for key in sent if key[0] == "airflow_task_scheduled_seconds_sum"}
    assert queued == {("dag_id=flight_delay__train", "task_id=")}


def test_what_nobody_asked_for_is_dropped(sent: dict[tuple[str, ...], float]) -> None:
    wanted = {one["name"] for one in yaml.safe_load(MAPPING.read_text())["mappings"]} - {"dropped"}
    shown = {key[0] for key in sent}
    assert all(any(name.startswith(one) for one in wanted) for name in shown), shown


def test_promtool_finds_nothing_in_airflows_metrics(
    exporter: Exporter, sent: dict[tuple[str, ...], float]
) -> None:
    lines = exporter.page().splitlines(keepends=True)
    ours = "".join(
        line for line in lines if line.startswith(("airflow_", "# HELP airflow_", "# TYPE airflow_"))
    )
    assert ours.count("# TYPE") >= 9
    assert lint(ours.encode()) == ""

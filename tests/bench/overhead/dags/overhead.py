"""Chains of ten and maps of ten and fifty tasks that do nothing but look at the clock: `chain_<class>`,
`map10_<class>` and `map50_<class>`.

Those of the class `pod` are of KubernetesPodOperator. overhead.json, beside it, holds the settings.
"""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, BaseOperator, get_parsing_context

from windtunnel.airflow.stage_classes import pod_template

SETTINGS = json.loads(Path(__file__).with_suffix(".json").read_text())
CHAINED = 10
MAPPED = (10, 50)
_TICKS = os.sysconf("SC_CLK_TCK")
_CPU = ("cpu.stat", "cpuacct/cpuacct.usage", "cpu,cpuacct/cpuacct.usage")
_MEMORY = ("memory.stat", "memory/memory.stat")


class Look(BaseOperator):
    """Returns moments (seconds since 1970) and what the container has used until now (CPU seconds, bytes)."""

    def __init__(self, *, number: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.number = number

    def execute(self, context: Any) -> dict[str, Any]:
        now = time.time()
        supervisor, task = _began(os.getppid(), now), _began(os.getpid(), now)
        return {"worker": supervisor, "task": task, "code": now, "cpu": _cpu(), "memory": _memory()}


def _began(pid: int, now: float) -> float:
    """When a process began, to 10 ms."""
    ticks = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    return now - (float(Path("/proc/uptime").read_text().split()[0]) - ticks / _TICKS)


def _cpu() -> float | None:
    for text in _of_the_container(_CPU):
        first = text.split()
        return int(first[1]) / 1e6 if first[0] == "usage_usec" else int(first[0]) / 1e9
    return None


def _memory() -> int | None:
    """Without files that are only cached."""
    for text in _of_the_container(_MEMORY):
        told = dict(line.split() for line in text.splitlines())
        return int(told["anon"] if "anon" in told else told["total_rss"])
    return None


def _of_the_container(names: tuple[str, ...]) -> list[str]:
    paths = [Path("/sys/fs/cgroup", name) for name in names]
    return [path.read_text() for path in paths if path.exists()]


def _pod(number: int) -> BaseOperator:
    # Here, so that nobody else's DAG pays for it.
    from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator

    restricted = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    return KubernetesPodOperator(
        task_id=f"t{number}",
        namespace=SETTINGS["namespace"],
        image=SETTINGS["image"],
        cmds=["/opt/airflow/bin/python", "-c", "import time; print(time.time())"],
        service_account_name="stage",
        automount_service_account_token=False,
        security_context={
            "runAsNonRoot": True,
            "runAsUser": 10001,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        container_security_context=restricted,
        labels={"app.kubernetes.io/component": "stage"},
        in_cluster=True,
        executor_config=_template("pod"),
    )


def _template(stage_class: str) -> dict[str, str]:
    return {"pod_template_file": pod_template(stage_class)}


def _dag(name: str) -> DAG:
    return DAG(
        name,
        schedule=None,
        start_date=datetime(2020, 1, 1, tzinfo=UTC),
        is_paused_upon_creation=False,
        max_active_tasks=max(MAPPED),
    )


def _chain_and_maps(stage_class: str) -> dict[str, DAG]:
    by_pod = stage_class == "pod"
    settings = {"executor_config": _template(stage_class)}
    with _dag(f"chain_{stage_class}") as chain:
        for before, after in pairwise(
            [
                _pod(number) if by_pod else Look(task_id=f"t{number}", number=number, **settings)
                for number in range(CHAINED)
            ]
        ):
            before >> after
    dags = [chain]
    for width in MAPPED:
        with _dag(f"map{width}_{stage_class}") as mapped:
            if by_pod:
                for number in range(width):
                    _pod(number)
            else:
                Look.partial(task_id="t", **settings).expand(number=list(range(width)))
        dags.append(mapped)
    return {dag.dag_id: dag for dag in dags}


_wanted = get_parsing_context().dag_id
for _class in SETTINGS["classes"]:
    if _wanted is None or _wanted.endswith(f"_{_class}"):
        globals().update(_chain_and_maps(_class))

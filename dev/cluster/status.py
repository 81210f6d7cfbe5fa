"""Show what of the cluster runs, and whether it is healthy."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import processes
from api import Api
from components import components

if TYPE_CHECKING:
    from layout import Layout


def status(layout: Layout) -> bool:
    """Print a table of components, the node and the pods; returns whether all is well."""
    if not layout.holds_cluster():
        print(f"no cluster in {layout.state}: `dev/cluster/cluster.py up` starts one")
        return False
    api = Api(layout)
    running = {process.name: process for process in processes.find(layout.state)}
    healthy = True
    print(f"{'COMPONENT':<20}{'PID':>8}{'UP':>10}{'PSS MB':>8}  STATE")
    for component in (component for group in components(layout, api) for component in group):
        process = running.get(component.name)
        is_ready = process is not None and component.is_ready(process.epoch())
        healthy = healthy and is_ready
        state = "ready" if is_ready else ("not ready" if process else "not running")
        print(f"{component.name:<20}{_columns(process)}  {state}")
    total = sum(process.pss_bytes() for process in running.values())
    print(f"{'all':<38}{total / 1e6:8.0f}")
    node_ready = api.node_is_ready()
    phases = Counter(pod.get("status", {}).get("phase", "Unknown") for pod in api.pods())
    print(f"node {'ready' if node_ready else 'NOT READY'}; pods: {_count(phases) or 'none'}")
    if not healthy:
        print(f"logs: {layout.log('*')}; `dev/cluster/cluster.py up` starts what is missing")
    return healthy and node_ready


def _columns(process: processes.Process | None) -> str:
    if process is None:
        return f"{'-':>8}{'-':>10}{'-':>8}"
    return f"{process.pid:>8}{_duration(process.seconds_up()):>10}{process.pss_bytes() / 1e6:8.0f}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{rest:02}s"


def _count(phases: Counter[str]) -> str:
    return ", ".join(f"{count} {phase}" for phase, count in sorted(phases.items()))

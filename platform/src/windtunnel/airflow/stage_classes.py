"""The stage classes that there are, and how many stages of each may run at once.

The chart renders both into one directory: a pod template for each class, and `pools.json`, which the
installation's job gives to Airflow (windtunnel.airflow.pools). DAGs are made from the same directory, so no
task can ask for a pool that was not rendered. Light: every parse of the DAG file reads this.
"""

from __future__ import annotations

import json
from pathlib import Path

from windtunnel.errors import PermanentError

DIRECTORY = Path("/opt/windtunnel/pod-templates")
"""Mounted where DAGs are parsed and pods are made, not in the pods themselves."""
POOLS = "pools.json"
"""As `airflow pools import` takes it: {pool: {slots, description, include_deferred}}."""


def pod_template(stage_class: str) -> str:
    """The file that the executor starts its pods from."""
    return f"{DIRECTORY}/{stage_class}.yaml"


def pool_of(stage_class: str) -> str:
    """Airflow's pool of the class. A name that nobody's own pool is likely to have."""
    return f"stage-{stage_class}"


def slots(directory: Path) -> dict[str, int]:
    """How many stages of each class may run at once, by class; empty where the directory isn't mounted.

    Raises PermanentError for a class without a pool: its tasks would wait for ever.
    """
    classes = sorted(path.stem for path in directory.glob("*.yaml"))
    if not classes:
        return {}
    path = directory / POOLS
    try:
        pools = json.loads(path.read_text(encoding="utf-8"))
        return {stage_class: int(pools[pool_of(stage_class)]["slots"]) for stage_class in classes}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PermanentError(
            f"the stage classes {', '.join(classes)} have no pools: {error!r}",
            where=str(path),
            fix="render classes and pools by one chart, and upgrade the release with it",
        ) from error

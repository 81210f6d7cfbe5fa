"""`python -m windtunnel.airflow.pools FILE`: gives each stage class its pool in Airflow, or its slots again.

For the installation's job, after `airflow db migrate`: a task whose pool doesn't exist is never scheduled.
FILE is what `airflow pools import` takes; that command leaves pools out that it doesn't understand before it
fails, and this one changes all of them or none. Pools of classes that are gone stay: runs that began before
may still ask for them.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from windtunnel.errors import PermanentError


def main(arguments: list[str]) -> None:
    """Idempotent. Raises PermanentError for a file that is none."""
    path = Path(arguments[0])
    try:
        pools = json.loads(path.read_text(encoding="utf-8"))
        wanted = {str(name): (int(pool["slots"]), str(pool["description"])) for name, pool in pools.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise PermanentError(f"no pools can be read: {error!r}", where=str(path)) from error
    ensure_pools(wanted)
    print("; ".join(f"pool {name}: {slots} slots" for name, (slots, _) in sorted(wanted.items())))


def ensure_pools(wanted: dict[str, tuple[int, str]]) -> None:
    """Slots and description by name."""
    # Imported here: with them comes the database.
    from airflow.models.pool import Pool
    from airflow.utils.session import create_session

    session: Any
    with create_session() as session:
        for name, (slots, description) in wanted.items():
            # A stage that waits for a human holds no pod, so it holds no place.
            Pool.create_or_update_pool(name, slots, description, include_deferred=False, session=session)


if __name__ == "__main__":
    main(sys.argv[1:])

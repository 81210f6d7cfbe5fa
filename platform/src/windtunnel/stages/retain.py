"""retain: what nothing needs any more, or is kept for long enough, is taken out of the object store.

Params: `dry_run`: only say what would go. Runs no code of the lifecycle: its pod may reach the Kubernetes
API, to ask what serves.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from windtunnel.retention.contents import contents
from windtunnel.retention.references import needed
from windtunnel.retention.rules import held_by, old_enough
from windtunnel.retention.sweep import sweep, tally
from windtunnel.rollout.served_models import open_served_models
from windtunnel.stages.base import StageResult

if TYPE_CHECKING:
    from windtunnel.retention.contents import Unit
    from windtunnel.stages.base import StageEnv, StageRequest


def identity(request: StageRequest, env: StageEnv) -> None:
    """Never cached: what there is changes by itself."""


def run(request: StageRequest, env: StageEnv) -> StageResult:
    dry_run = bool(request.params.get("dry_run"))
    units = contents(env.store, env.lifecycle.name)
    going, held = _going(units, env)
    if dry_run:
        env.log.info("a dry run: nothing is deleted")
    else:
        going = sweep(env.store, env.lifecycle.name, going)
    gone = {id(unit) for unit in going}
    kept, swept = tally(unit for unit in units if id(unit) not in gone), tally(going)
    for kind in sorted(kept.objects | swept.objects):
        env.log.info(
            "%-11s %8d objects, %12d bytes kept; %8d objects, %12d bytes %s",
            kind,
            kept.objects[kind],
            kept.bytes[kind],
            swept.objects[kind],
            swept.bytes[kind],
            "would go" if dry_run else "gone",
        )
    return StageResult(
        facts={"kept": kept.to_json(), "swept": swept.to_json(), "dry_run": dry_run, "held": held}
    )


def _going(units: list[Unit], env: StageEnv) -> tuple[list[Unit], str]:
    """What may go, of what there is, and why no bundle is among it, where something forbids that.

    What serves is asked after the listing, so that nothing that took the seat meanwhile is overlooked.
    """
    now = datetime.now(UTC)
    old = old_enough(units, env.lifecycle, now)
    ids = {id(unit) for unit in old}
    need = needed(
        env.store,
        env.lifecycle,
        open_served_models(env.settings.served_models, os.environ).get(env.lifecycle.object_name),
        units,
        [unit for unit in units if id(unit) not in ids],
        now,
    )
    if behind := held_by(units, env.lifecycle, now):
        env.log.info("the age of partitions and feature rows is told from where %s", behind)
    if need.all_kept:
        env.log.warning("no bundle and no snapshot goes: %s", need.all_kept)
    return [unit for unit in old if not need.holds(unit)], need.all_kept

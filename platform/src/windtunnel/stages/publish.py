"""publish: the online store is filled for the run's days, so tell it: Feast's registry, and the freshness of
each view.

It is never found again: what it says depends on the moment and on what the online store holds.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from windtunnel.digests import digest
from windtunnel.errors import DataError
from windtunnel.features.daily import days_of, span
from windtunnel.features.definitions import load_definitions
from windtunnel.features.feature_store import published_registry
from windtunnel.features.freshness import measure, read_freshness, write_freshness
from windtunnel.features.online.online_marker import open_markers
from windtunnel.settings import without_credentials
from windtunnel.stages.base import Reference, StageResult

if TYPE_CHECKING:
    from datetime import date

    from windtunnel.features.freshness import ViewFreshness
    from windtunnel.features.online.online_marker import Materialized
    from windtunnel.stages.base import StageEnv, StageRequest


def identity(request: StageRequest, env: StageEnv) -> None:  # noqa: ARG001 - as every stage has it
    return None


def run(request: StageRequest, env: StageEnv) -> StageResult:
    days = days_of(request.params)
    name, spec = env.lifecycle.name, env.lifecycle.spec.features
    filled = {view: open_markers(env.settings, name, view).read() for view in spec.views}
    _refuse_missing(filled, days, env)
    registry = published_registry(
        load_definitions(env.directory, env.lifecycle),
        name,
        env.work,
        env.store.uri(f"{name}/features"),
        {view: found.intervals() for view, found in filled.items()},
    )
    env.store.put(f"{name}/registry.pb", registry)
    before = read_freshness(env.store, name)
    # A backfill of older days tells nobody news, also when it is tried again.
    news = all(str(days[-1]) >= known.end for view, known in before.items() if view in spec.views)
    now = datetime.now(UTC)
    views = {}
    for view, found in filled.items():
        freshness = measure(view, found, (days[0], days[-1]), spec.freshness.get(view), before.get(view), now)
        write_freshness(env.store, name, freshness)
        views[view] = _facts(freshness, now)
        _log(freshness, now, env)
    reference = Reference(
        "published",
        env.store.uri(f"{name}/registry.pb"),
        digest(registry),
        bytes=len(registry),
        meta={"start": str(days[0]), "end": str(days[-1])},
    )
    return StageResult(outputs={"published": reference}, facts={"views": views, "news": news})


def _refuse_missing(filled: dict[str, Materialized], days: list[date], env: StageEnv) -> None:
    """Every materialize of this run has ended well, but an online store that died since may have lost its
    last second of writes: nothing is published that is not there.
    """
    for view, found in filled.items():
        missing = found.missing(days)
        if missing:
            raise DataError(
                f"view {view!r} is not filled for {span(missing)}: the online store lost it, or it was never "
                "materialized",
                where=without_credentials(env.settings.online_store),
                fix="materialize these days again (from_stage: materialize, or --from materialize here)",
            )


def _facts(freshness: ViewFreshness, now: datetime) -> dict[str, Any]:
    age = freshness.age_seconds(now)
    return {
        "newest_event": str(freshness.newest_event) if freshness.newest_event else None,
        "rows": freshness.rows,
        "bytes": freshness.bytes,
        "seconds": freshness.seconds,
        "age_seconds": None if age is None else round(age, 1),
        "objective_seconds": freshness.objective_seconds,
        "stale": freshness.is_stale(now),
    }


def _log(freshness: ViewFreshness, now: datetime, env: StageEnv) -> None:
    age = freshness.age_seconds(now)
    told = "nothing yet" if age is None else f"newest event {freshness.newest_event}, {age / 3600:.1f} h old"
    if freshness.is_stale(now):
        objective = (freshness.objective_seconds or 0) / 3600
        env.log.warning("%s: %s; the objective is %.1f h: STALE", freshness.view, told, objective)
    else:
        env.log.info("%s: %s", freshness.view, told)

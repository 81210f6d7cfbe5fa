"""materialize: the newest feature row of every key → the online store, by Feast.

It always goes through to the newest day that the online store has been filled up to, also when asked for
older days: so a backfill never puts an old value over a newer one, and computing a day again replaces what it
gave before. (Feast by itself keeps a stored value that has the same event timestamp, so a corrected day would
change nothing; and its incremental form starts at now minus ttl, which is not what a backfill means.)

A result is found again only when the online store itself says that this is what it was last filled with: it
may have been emptied since.
"""

from __future__ import annotations

import time
from datetime import date
from typing import TYPE_CHECKING, Any

import polars as pl

from windtunnel.errors import DataError, SpecError
from windtunnel.features.daily import Sidecar, days_between, days_of, digest_of, feature_rows_of, span
from windtunnel.features.definitions import EVENT_TIMESTAMP, load_definitions
from windtunnel.features.feature_store import (
    online_store_config,
    open_feature_store,
    published_registry,
    quiet,
    stage_feature_rows,
)  # fmt: skip
from windtunnel.features.online_marker import Marker, online_faults, open_markers
from windtunnel.stages.base import Reference, StageResult

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from windtunnel.features.definitions import View
    from windtunnel.stages.base import StageEnv, StageRequest


def identity(request: StageRequest, env: StageEnv) -> dict[str, Any]:
    view, days = _asked(request, env)
    return {
        "view": view,
        "rows": digest_of({view: _sidecars(env, view, days)}),
        "online": env.settings.online_store,
    }


def still_there(result: StageResult, env: StageEnv) -> bool:
    output = result.outputs["online"]
    marker = open_markers(env.settings).read(env.lifecycle.name, output.meta["view"])
    return marker is not None and marker.digest == output.digest


def run(request: StageRequest, env: StageEnv) -> StageResult:
    began = time.monotonic()
    view, days = _asked(request, env)
    markers = open_markers(env.settings)
    filled = markers.read(env.lifecycle.name, view)
    through = max(days[-1], date.fromisoformat(filled.end)) if filled else days[-1]
    sidecars = _sidecars(env, view, days_between(days[0], through))
    if not sidecars:
        raise DataError(
            f"view {view!r} has no feature rows for {span(days)}",
            where=env.store.uri(feature_rows_of(env.store, env.lifecycle.name, view).prefix),
            fix="run transform for those days first",
        )
    if through > days[-1]:
        env.log.info("%s: the online store is filled up to %s, so through to that day", view, through)
    definitions = load_definitions(env.directory, env.lifecycle)
    rows = stage_feature_rows(env.store, env.lifecycle.name, view, sidecars, env.work)
    oldest, newest, keys = _extent(rows, definitions.views[view])
    with online_faults(env.settings):
        store = open_feature_store(
            definitions, env.lifecycle.name, {view: rows}, env.work, online_store_config(env.settings)
        )
        if keys:
            with quiet():
                store.materialize(oldest, newest, [view])
    digest = digest_of({view: sidecars})
    markers.write(env.lifecycle.name, view, Marker(digest=digest, end=str(through)))
    registry = published_registry(store, env.store.uri(f"{env.lifecycle.name}/features"))
    env.store.put(f"{env.lifecycle.name}/registry.pb", registry)
    seconds = round(time.monotonic() - began, 2)
    env.log.info("%s: %d keys up to %s in %.1f s", view, keys, newest, seconds)
    reference = Reference(
        kind="online",
        uri=f"windtunnel://{env.lifecycle.name}/{view}",
        digest=digest,
        rows=keys,
        meta={"view": view, "start": str(days[0]), "end": str(through), "newest_event": str(newest)},
    )
    return StageResult(
        outputs={"online": reference}, facts={"rows": keys, "newest_event": str(newest), "seconds": seconds}
    )


def _asked(request: StageRequest, env: StageEnv) -> tuple[str, list[date]]:
    view = str(request.params["view"])
    if view not in env.lifecycle.spec.features.views:
        raise SpecError(
            f"there is no view {view!r}",
            where="params",
            fix=f"views are {', '.join(env.lifecycle.spec.features.views)}",
        )
    return view, days_of(request.params)


def _sidecars(env: StageEnv, view: str, days: list[date]) -> dict[date, Sidecar]:
    files = feature_rows_of(env.store, env.lifecycle.name, view)
    return files.sidecars(files.known_days() & set(days))


def _extent(directory: Path, view: View) -> tuple[datetime | None, datetime | None, int]:
    """First and last event timestamp, and how many keys there are."""
    rows = pl.scan_parquet(directory / "*.parquet")
    times = rows.select(first=pl.col(EVENT_TIMESTAMP).min(), last=pl.col(EVENT_TIMESTAMP).max()).collect()
    keys = rows.select(*view.join_keys).unique().select(pl.len()).collect().item()
    return times["first"][0], times["last"][0], keys

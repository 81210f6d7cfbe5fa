"""materialize: one slice of days of one view → the online store.

A result is found again only when the online store itself says that the slice was filled with just these
feature rows: it may have been emptied, or filled from others, since.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from windtunnel.errors import DataError, SpecError
from windtunnel.features.daily import days_of, digest_of, feature_rows_of, span
from windtunnel.features.online.online_marker import open_markers
from windtunnel.stages.base import Reference, StageResult

if TYPE_CHECKING:
    from datetime import date

    from windtunnel.features.daily import Sidecar
    from windtunnel.stages.base import StageEnv, StageRequest


def identity(request: StageRequest, env: StageEnv) -> dict[str, Any]:
    view, days = _asked(request, env)
    return {
        "view": view,
        "start": str(days[0]),
        "end": str(days[-1]),
        "rows": digest_of({view: _sidecars(env, view, days)}),
        "online": env.settings.online_store,
    }


def still_there(result: StageResult, env: StageEnv) -> bool:
    output = result.outputs["online"]
    view, days = output.meta["view"], days_of(output.meta)
    if digest_of({view: _sidecars(env, view, days)}) != output.digest:
        return False
    filled = open_markers(env.settings, env.lifecycle.name, view).read().slices
    marker = filled.get((days[0], days[-1]))
    return marker is not None and marker.digest == output.digest


def run(request: StageRequest, env: StageEnv) -> StageResult:
    # Imported when there is something to do: a result that is found again should not pay for Feast.
    from windtunnel.features.online_fill import fill_slice

    view, days = _asked(request, env)
    sidecars = _sidecars(env, view, days)
    if not sidecars:
        raise DataError(
            f"view {view!r} has no feature rows for {span(days)}",
            where=env.store.uri(feature_rows_of(env.store, env.lifecycle.name, view).prefix),
            fix="run transform for those days first",
        )
    filled = fill_slice(env, view, (days[0], days[-1]), sidecars)
    marker = filled.marker
    newest = str(marker.newest_event) if marker.newest_event else None
    env.log.info(
        "%s %s: %d keys written, %d were newer already; newest event %s; %.1f s",
        view, span(days), marker.rows, filled.skipped, newest, marker.seconds,
    )  # fmt: skip
    reference = Reference(
        kind="online",
        uri=f"windtunnel://{env.lifecycle.name}/{view}",
        digest=marker.digest,
        rows=marker.rows,
        bytes=marker.bytes,
        meta={"view": view, "start": str(days[0]), "end": str(days[-1])},
    )
    facts = {
        "rows": marker.rows,
        "skipped": filled.skipped,
        "newest_event": newest,
        "bytes": marker.bytes,
        "seconds": marker.seconds,
    }
    return StageResult(outputs={"online": reference}, facts=facts)


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
    return feature_rows_of(env.store, env.lifecycle.name, view).available(days)

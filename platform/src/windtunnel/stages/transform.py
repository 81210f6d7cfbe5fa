"""transform: clean partitions → feature rows, by the user's function, one day at a time.

The function sees the rows of the day and of the days before it that the lifecycle asks for, never of a later
day. A day whose partitions, code and libraries did not change is left alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import polars as pl

from windtunnel.digests import canonical_json, digest
from windtunnel.errors import DataError
from windtunnel.features.daily import (
    Sidecar,
    days_between,
    days_of,
    digest_of,
    feature_rows_of,
    partitions_of,
    span,
    still_those,
)  # fmt: skip
from windtunnel.features.definitions import Definitions, load_definitions
from windtunnel.features.feature_rows import check_feature_rows
from windtunnel.stages.base import Reference, StageResult, libraries_digest, platform_digest
from windtunnel.usercode import features_digest, load_object

if TYPE_CHECKING:
    from collections.abc import Callable

    from windtunnel.stages.base import StageEnv, StageRequest


def identity(request: StageRequest, env: StageEnv) -> dict[str, Any]:
    days = days_of(request.params)
    available = _available(env, days)
    return {"start": str(days[0]), "end": str(days[-1]), "partitions": digest_of(available)}


def still_there(result: StageResult, env: StageEnv) -> bool:
    output = result.outputs["features"]
    name = env.lifecycle.name
    return still_those(output, {of: feature_rows_of(env.store, name, of) for of in output.meta["rows"]})


def run(request: StageRequest, env: StageEnv) -> StageResult:
    days = days_of(request.params)
    available = _available(env, days)
    _refuse_nothing(available, env, days)
    spec = env.lifecycle.spec.features
    work = _Transformation(
        env=env,
        definitions=load_definitions(env.directory, env.lifecycle),
        function=load_object(env.directory, spec.transform),
        code=[
            spec.transform,
            features_digest(env.directory, env.lifecycle),
            platform_digest(),
            libraries_digest(),
        ],
        available=available,
        force=bool(request.params.get("force")),
    )
    for count, day in enumerate(days, start=1):
        work.do(day)
        if count % 7 == 0 and count < len(days):
            env.log.info("%d of %d days", count, len(days))
    rows = {view: sum(item.rows for item in items.values()) for view, items in work.made.items()}
    for view, number in rows.items():
        env.log.info("%s %s: %d feature rows", view, span(days), number)
    reference = Reference(
        kind="features",
        uri=env.store.uri(f"{env.lifecycle.name}/features"),
        digest=digest_of(work.made),
        rows=sum(rows.values()),
        bytes=sum(item.bytes for items in work.made.values() for item in items.values()),
        meta={"start": str(days[0]), "end": str(days[-1]), "rows": rows},
    )
    facts = {"days": len(days), "unchanged": work.unchanged, "short_lookback": work.short_lookback}
    return StageResult(outputs={"features": reference}, facts=facts)


@dataclass
class _Transformation:
    """Days, one after the other; partitions are read once and let go when no later day needs them."""

    env: StageEnv
    definitions: Definitions
    function: Callable[..., Any]
    code: list[str]
    available: dict[str, dict[date, Sidecar]]
    force: bool
    made: dict[str, dict[date, Sidecar]] = field(default_factory=dict)
    unchanged: int = 0
    short_lookback: int = 0

    def __post_init__(self) -> None:
        name = self.env.lifecycle.name
        self.made = {view: {} for view in self.definitions.views}
        self._partitions = {source: partitions_of(self.env.store, name, source) for source in self.available}
        self._rows = {view: feature_rows_of(self.env.store, name, view) for view in self.definitions.views}
        self._loaded: dict[tuple[str, date], pl.DataFrame] = {}

    def do(self, day: date) -> None:
        lookback = self.env.lifecycle.spec.features.lookback_days
        window = days_between(day - timedelta(days=lookback), day)
        seen = {
            source: {d: s for d, s in all_.items() if d in window} for source, all_ in self.available.items()
        }
        if any(len(items) < len(window) for items in seen.values()):
            self.short_lookback += 1
        made_of = digest(canonical_json([digest_of(seen), self.code]))
        if not self.force and self._is_done(day, made_of):
            self.unchanged += 1
            return
        partitions = {source: self._load(source, items) for source, items in seen.items()}
        for key in [key for key in self._loaded if key[1] < window[0]]:
            del self._loaded[key]
        where = f"{self.env.lifecycle.spec.features.transform}"
        frames = check_feature_rows(self.function(partitions, day), day, self.definitions, where)
        for view, frame in frames.items():
            self.made[view][day] = self._rows[view].write(day, frame, made_of)

    def _is_done(self, day: date, made_of: str) -> bool:
        found = {view: files.unchanged(day, made_of) for view, files in self._rows.items()}
        done = {view: sidecar for view, sidecar in found.items() if sidecar}
        if len(done) < len(found):
            return False
        for view, sidecar in done.items():
            self.made[view][day] = sidecar
        return True

    def _load(self, source: str, items: dict[date, Sidecar]) -> pl.DataFrame:
        for day, sidecar in items.items():
            if (source, day) not in self._loaded:
                self._loaded[source, day] = self._partitions[source].read(day, sidecar)
        if not items:
            return self._partitions[source].no_rows()
        # A column that one day lacks is null there; the schema says which columns may be.
        return pl.concat([self._loaded[source, day] for day in items], how="diagonal_relaxed")


def _available(env: StageEnv, days: list[date]) -> dict[str, dict[date, Sidecar]]:
    """Clean partitions of the days and of the lookback before them."""
    first = days[0] - timedelta(days=env.lifecycle.spec.features.lookback_days)
    window = days_between(first, days[-1])
    return {
        source: partitions_of(env.store, env.lifecycle.name, source).available(window)
        for source in env.lifecycle.spec.sources
    }


def _refuse_nothing(available: dict[str, dict[date, Sidecar]], env: StageEnv, days: list[date]) -> None:
    """A day whose partition is in quarantine is known and empty; a day never extracted is a mistake."""
    for source in available:
        files = partitions_of(env.store, env.lifecycle.name, source)
        missing = set(days) - files.known_days()
        if missing or not available[source]:
            raise DataError(
                f"source {source!r} has no clean partition for {span(missing or days)}",
                where=env.store.uri(files.prefix),
                fix="run extract for those days first",
            )

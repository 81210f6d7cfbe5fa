"""extract: raw partitions → clean partitions, every row checked against its source's schema.

A bad row is set aside with its reason and counted, or stops the stage, as the lifecycle says. A day whose raw
partition, code and libraries did not change is left alone.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import polars as pl

from windtunnel.digests import canonical_json, digest
from windtunnel.errors import DataError
from windtunnel.features.daily import (
    Sidecar,
    days_of,
    digest_of,
    partitions_of,
    span,
    still_those,
    to_parquet,
)  # fmt: skip
from windtunnel.features.feast_import import prepare_feast
from windtunnel.features.row_checks import as_schema, split_rows
from windtunnel.features.sources import RawPartitions
from windtunnel.stages.base import Reference, StageResult, libraries_digest, platform_digest
from windtunnel.usercode import features_digest, load_object

if TYPE_CHECKING:
    from datetime import date

    from pandera.api.polars.container import DataFrameSchema

    from windtunnel.spec.lifecycle import Source
    from windtunnel.stages.base import StageEnv, StageRequest


def identity(request: StageRequest, env: StageEnv) -> dict[str, Any]:
    """The raw partitions, by size and entity tag: nothing has to be read to see that nothing changed."""
    days = days_of(request.params)
    inputs = {}
    for name, source in env.lifecycle.spec.sources.items():
        entries = RawPartitions(env.store, source).entries(days)
        inputs[name] = {str(day): [entries[day].size, entries[day].etag] for day in entries}
    return {"start": str(days[0]), "end": str(days[-1]), "inputs": inputs}


def still_there(result: StageResult, env: StageEnv) -> bool:
    output = result.outputs["partitions"]
    name = env.lifecycle.name
    return still_those(output, {of: partitions_of(env.store, name, of) for of in output.meta["rows"]})


def run(request: StageRequest, env: StageEnv) -> StageResult:
    days = days_of(request.params)
    _refuse_future(days[-1])
    prepare_feast()  # the user's schemas stand beside Feast's definitions
    done = {
        name: _Extraction(name, env, days, force=bool(request.params.get("force"))) for name in _sources(env)
    }
    for extraction in done.values():
        extraction.run()
    sidecars = {name: extraction.present() for name, extraction in done.items()}
    every = [sidecar for items in sidecars.values() for sidecar in items.values()]
    reference = Reference(
        kind="partitions",
        uri=env.store.uri(f"{env.lifecycle.name}/partitions"),
        digest=digest_of(sidecars),
        rows=sum(sidecar.rows for sidecar in every),
        bytes=sum(sidecar.bytes for sidecar in every),
        meta={
            "start": str(days[0]),
            "end": str(days[-1]),
            "rows": {name: sum(item.rows for item in items.values()) for name, items in sidecars.items()},
        },
    )
    facts = {
        "partitions": len(every),
        "unchanged": sum(extraction.unchanged for extraction in done.values()),
        "quarantined": sum(sidecar.quarantined for sidecar in every),
        "rejected": {name: extraction.rejected for name, extraction in done.items()},
        "unreadable": [f"{name} {day}" for name, e in done.items() for day in e.unreadable],
    }
    return StageResult(outputs={"partitions": reference}, facts=facts)


def _refuse_future(last: date) -> None:
    """Of days to come nothing is known. The online store would keep what is made of them over all that is
    true until then, and no training would start before that day was news.
    """
    # Where the day begins first it is 14 hours ahead of UTC.
    if last > datetime.now(UTC).date() + timedelta(days=1):
        raise DataError(f"{last} is still to come", where="params", fix="let end be today or earlier")


def _sources(env: StageEnv) -> dict[str, Source]:
    return env.lifecycle.spec.sources


@dataclass
class _Extraction:
    """The days of one source."""

    name: str
    env: StageEnv
    days: list[date]
    force: bool

    def __post_init__(self) -> None:
        self.source = _sources(self.env)[self.name]
        self.raw = RawPartitions(self.env.store, self.source)
        self.files = partitions_of(self.env.store, self.env.lifecycle.name, self.name)
        self.sidecars: dict[date, Sidecar] = {}
        self.unchanged = 0
        self.rejected = 0
        """Rows that were set aside now; those of unchanged days were before."""

    @property
    def unreadable(self) -> list[date]:
        return [day for day, sidecar in self.sidecars.items() if not sidecar.present]

    def present(self) -> dict[date, Sidecar]:
        return {day: sidecar for day, sidecar in self.sidecars.items() if sidecar.present}

    def run(self) -> None:
        entries = self.raw.entries(self.days)
        self._refuse_missing(set(self.days) - set(entries))
        schema = as_schema(load_object(self.env.directory, self.source.schema_ref), self.source.schema_ref)
        code = [
            features_digest(self.env.directory, self.env.lifecycle),
            platform_digest(),
            libraries_digest(),
        ]
        policy = self.source.model_dump(mode="json")
        for day in self.days:
            made_of = digest(canonical_json([entries[day].size, entries[day].etag, policy, code]))
            done = None if self.force else self.files.unchanged(day, made_of)
            if done:
                self.sidecars[day] = done
                self.unchanged += 1
            else:
                self.sidecars[day] = self._extract(day, schema, made_of)
                self.rejected += self.sidecars[day].quarantined
        self._refuse_nothing_readable()
        rows = sum(sidecar.rows for sidecar in self.sidecars.values())
        bad = sum(sidecar.quarantined for sidecar in self.sidecars.values())
        self.env.log.info(
            "%s %s: %d rows, %d quarantined; %d of %d days unchanged",
            self.name, span(self.days), rows, bad, self.unchanged, len(self.days),
        )  # fmt: skip

    def _extract(self, day: date, schema: DataFrameSchema, made_of: str) -> Sidecar:
        where = self.raw.uri(day)
        data = self.raw.read(day)
        try:
            frame = pl.read_parquet(io.BytesIO(data))
        except (pl.exceptions.PolarsError, OSError, ValueError) as error:
            return self._set_partition_aside(day, data, made_of, str(error).partition("\n")[0])
        split = split_rows(frame, schema, where)
        if split.bad.height:
            self._judge(day, split.bad, frame.height)
            self.env.store.put(self._quarantine_key(day), to_parquet(split.bad))
        else:
            self.env.store.delete(self._quarantine_key(day))
        return self.files.write(day, split.clean, made_of, split.bad.height)

    def _judge(self, day: date, bad: pl.DataFrame, rows: int) -> None:
        reason = bad["quarantine_reason"].value_counts(sort=True).row(0)
        told = f"{bad.height} of {rows} rows are bad, {reason[1]} of them by `{reason[0]}`"
        if self.source.on_bad_rows == "stop":
            raise DataError(
                told,
                where=self.raw.uri(day),
                fix=f"mend them, or set spec.sources.{self.name}.onBadRows to quarantine",
            )
        if bad.height > self.source.max_bad_share * rows:
            raise DataError(
                f"{told}; {self.source.max_bad_share:.1%} are allowed",
                where=self.raw.uri(day),
                fix=f"mend them, or raise spec.sources.{self.name}.maxBadShare",
            )
        self.env.log.info("%s %s: quarantined: %s", self.name, day, told)

    def _set_partition_aside(self, day: date, data: bytes, made_of: str, problem: str) -> Sidecar:
        if self.source.on_bad_rows == "stop":
            raise DataError(
                f"this is no parquet that can be read: {problem}",
                where=self.raw.uri(day),
                fix=f"write it again, or set spec.sources.{self.name}.onBadRows to quarantine",
            )
        self.env.store.put(self._quarantine_key(day), data)
        self.env.log.warning("%s %s: quarantined: cannot be read: %s", self.name, day, problem)
        return self.files.write_unreadable(day, made_of)

    def _quarantine_key(self, day: date) -> str:
        return f"{self.env.lifecycle.name}/quarantine/{self.name}/{day}.parquet"

    def _refuse_missing(self, missing: set[date]) -> None:
        if missing:
            raise DataError(
                f"source {self.name!r} has no partition for {span(missing)}",
                where=self.raw.uri(min(missing)),
                fix="load those days, or ask for others (params start and end)",
            )

    def _refuse_nothing_readable(self) -> None:
        if len(self.unreadable) == len(self.days):
            raise DataError(
                f"no partition of source {self.name!r} for {span(self.days)} can be read",
                where=self.raw.uri(self.days[0]),
                fix="the raw files are in quarantine as they were; write them again",
            )

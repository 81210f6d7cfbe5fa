"""score: batch predictions of the champion for what was asked on a range of days, one shard of them.

`<lifecycle>/scores/<date>/<version>/<shard>-of-<shards>.parquet` holds join keys, event_timestamp, request
features and `prediction`, in the order of the user's entity_rows. A row's shard is the CRC-32 of its join
keys modulo the number of shards, so all rows of an entity are in one file, on every day.
"""

from __future__ import annotations

import zlib
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from windtunnel.digests import canonical_json, digest
from windtunnel.errors import DataError, NotFoundError, RequestError
from windtunnel.features.daily import days_between, days_of, digest_of, partitions_of, to_parquet
from windtunnel.features.definitions import EVENT_TIMESTAMP, load_definitions
from windtunnel.features.point_in_time import feature_files, point_in_time, read_entity_rows
from windtunnel.registry.bundle import read_bundle
from windtunnel.registry.models import ModelRegistry
from windtunnel.registry.snapshots import to_inputs
from windtunnel.stages.base import Reference, StageResult

if TYPE_CHECKING:
    from collections.abc import Sequence

    from windtunnel.registry.bundle import Bundle
    from windtunnel.registry.models import RegisteredVersion
    from windtunnel.stages.base import StageEnv, StageRequest


def identity(request: StageRequest, env: StageEnv) -> dict[str, Any]:
    days, shard, shards = _asked(request)
    champion = _champion(env)
    # entity_rows may look at the days in which the labels arrive.
    window = days_between(days[0], days[-1] + timedelta(days=env.lifecycle.spec.label.delay_days))
    partitions = {
        source: partitions_of(env.store, env.lifecycle.name, source).sidecars(window)
        for source in env.lifecycle.spec.sources
    }
    return {
        "days": [str(days[0]), str(days[-1])],
        "shard": [shard, shards],
        "champion": [champion.version, champion.bundle_digest],
        "partitions": digest_of(partitions),
        "features": digest_of(feature_files(env, days[0], days[-1])),
    }


def run(request: StageRequest, env: StageEnv) -> StageResult:
    days, shard, shards = _asked(request)
    champion = _champion(env)
    bundle = read_bundle(env.store, champion.bundle, champion.bundle_digest)
    env.log.info(
        "scoring %s to %s with version %s, shard %d of %d", days[0], days[-1], champion.version, shard, shards
    )
    keys = list(load_definitions(env.directory, env.lifecycle).join_keys)
    asked = {day: _of_shard(read_entity_rows(env, day), keys, shard, shards) for day in days}
    whole = pl.concat(list(asked.values()), how="vertical_relaxed")
    if whole.is_empty() and shards == 1:
        raise DataError(
            f"nothing was asked from {days[0]} to {days[-1]}",
            where=env.lifecycle.spec.label.rows,
            fix="run the features stages for those days, or choose others",
        )
    scored = _predict(bundle, point_in_time(env, whole), keys, env)
    start, digests, size = 0, [], 0
    for day, rows in asked.items():
        data = to_parquet(scored.slice(start, rows.height))
        start += rows.height
        key = _key(env, day, champion.version, shard, shards)
        _forget_other_shards(env, key.rpartition("/")[0], shards)
        env.store.put(key, data)
        digests.append(digest(data))
        size += len(data)
    env.log.info("%d rows scored", scored.height)
    reference = Reference(
        "scores",
        env.store.uri(f"{env.lifecycle.name}/scores"),
        digest(canonical_json(digests)),
        rows=scored.height,
        bytes=size,
        meta={
            "start": str(days[0]),
            "end": str(days[-1]),
            "version": champion.version,
            "shard": shard,
            "shards": shards,
        },
    )
    facts = {"rows": scored.height, "version": champion.version}
    if scored.height:
        facts["mean_prediction"] = round(float(scored["prediction"].to_numpy().mean()), 5)
    return StageResult(outputs={"scores": reference}, facts=facts)


def still_there(result: StageResult, env: StageEnv) -> bool:
    """Whether the files are still those of the result: another scoring since may have written them, and
    another sharding taken their place.
    """
    output = result.outputs["scores"]
    meta = output.meta
    days = days_of(meta)
    keys = [_key(env, day, meta["version"], meta["shard"], meta["shards"]) for day in days]
    try:
        digests = [digest(env.store.get(key)) for key in keys]
    except NotFoundError:
        return False
    return digest(canonical_json(digests)) == output.digest


def _key(env: StageEnv, day: date, version: str, shard: int, shards: int) -> str:
    return f"{env.lifecycle.name}/scores/{day}/{version}/{shard}-of-{shards}.parquet"


def _asked(request: StageRequest) -> tuple[list[date], int, int]:
    params = request.params
    shard, shards = int(params.get("shard", 0)), int(params.get("shards", 1))
    if not 0 <= shard < shards:
        raise RequestError(f"shard {shard} of {shards} is none", where="score", fix="shards count from 0")
    return days_of(params), shard, shards


def _champion(env: StageEnv) -> RegisteredVersion:
    champion = ModelRegistry(env.settings.tracking_uri).champion(env.lifecycle.name)
    if champion is None:
        raise NotFoundError(
            f"{env.lifecycle.name} has no champion to score with",
            where="MLflow",
            fix="promote a version first",
        )
    return champion


def _of_shard(rows: pl.DataFrame, keys: Sequence[str], shard: int, shards: int) -> pl.DataFrame:
    joined = rows.select(
        pl.concat_str([pl.col(key).cast(pl.String) for key in keys], separator="\x1f")
    ).to_series()
    mine = [zlib.crc32(str(value).encode()) % shards == shard for value in joined]
    return rows.filter(pl.Series(mine, dtype=pl.Boolean))


def _predict(bundle: Bundle, rows: pl.DataFrame, keys: Sequence[str], env: StageEnv) -> pl.DataFrame:
    answers = (
        bundle.predict(to_inputs(rows, bundle.features, bundle.defaults)) if rows.height else np.empty(0)
    )
    columns = [*keys, EVENT_TIMESTAMP, *env.lifecycle.spec.features.request]
    return rows.select(columns).with_columns(pl.Series("prediction", answers, dtype=pl.Float64))


def _forget_other_shards(env: StageEnv, folder: str, shards: int) -> None:
    """Files of a scoring with another number of shards would count rows twice."""
    for entry in env.store.list(folder):
        if not entry.key.endswith(f"-of-{shards}.parquet"):
            env.store.delete(entry.key)

"""score: batch predictions for what was asked on a range of days, one shard of them, by the champion or by a
version that is named.

They are answered as requests are: the bundle, verified and rehearsed, gets the same inputs, refuses the same
numbers, and what it says is written in the format of the prediction log, with role `batch`:

    <lifecycle>/scores/<date>/00/<version>-<shard>-of-<shards>-<bundle>.parquet

A row's shard is the CRC-32 of its join keys modulo the number of shards, so all rows of an entity are in one
file, on every day. Its id follows from the day and all that the answer was made of: scoring again gives the
same files, and an id never stands for two answers. All shards of a run are scored by one version, also when
another one is promoted meanwhile.
"""

from __future__ import annotations

import json
import re
import zlib
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from windtunnel.digests import canonical_json, digest
from windtunnel.errors import DataError, NotFoundError, RequestError
from windtunnel.features.daily import days_between, days_of, digest_of, partitions_of, to_parquet
from windtunnel.features.definitions import EVENT_TIMESTAMP, load_definitions
from windtunnel.features.point_in_time import feature_files, point_in_time, read_entity_rows
from windtunnel.prediction_log import columns
from windtunnel.prediction_log.frames import schema
from windtunnel.prediction_log.ids import derived_id
from windtunnel.prediction_log.keys import SCORES, hour_folder, short
from windtunnel.records import run_folder
from windtunnel.registry.models import ModelRegistry
from windtunnel.registry.rehearsal import read_rehearsed
from windtunnel.registry.renewal import renew
from windtunnel.registry.snapshots import to_inputs
from windtunnel.spec.servedmodel import ModelVersion
from windtunnel.stages.base import Reference, StageResult

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from windtunnel.registry.bundle import Bundle
    from windtunnel.registry.models import RegisteredVersion
    from windtunnel.stages.base import StageEnv, StageRequest

_INDEX = "windtunnel_index"
"""Of a row among all that were asked on its day."""
_MIDNIGHT = "windtunnel_midnight"
_FILE = re.compile(r"(?P<version>.+)-\d+-of-(?P<shards>\d+)-(?P<bundle>[0-9a-f]+)\.parquet")
_FP32_MAX = float(np.finfo(np.float32).max)


def identity(request: StageRequest, env: StageEnv) -> dict[str, Any]:
    days, shard, shards = _asked(request)
    chosen = _chosen(request, env)
    # entity_rows may look at the days in which the labels arrive.
    window = days_between(days[0], days[-1] + timedelta(days=env.lifecycle.spec.label.delay_days))
    partitions = {
        source: partitions_of(env.store, env.lifecycle.name, source).sidecars(window)
        for source in env.lifecycle.spec.sources
    }
    return {
        "days": [str(days[0]), str(days[-1])],
        "shard": [shard, shards],
        "version": [chosen["version"], chosen["digest"]],
        "partitions": digest_of(partitions),
        "features": digest_of(feature_files(env, days[0], days[-1])),
    }


def run(request: StageRequest, env: StageEnv) -> StageResult:
    days, shard, shards = _asked(request)
    chosen = _chosen(request, env)
    version = str(chosen["version"])
    renew(env.store, str(chosen["bundle"]))
    bundle = read_rehearsed(env.store, env.lifecycle.name, ModelVersion.model_validate(chosen))
    env.log.info(
        "scoring %s to %s with version %s, shard %d of %d", days[0], days[-1], version, shard, shards
    )
    join_keys = load_definitions(env.directory, env.lifecycle).join_keys
    asked = {
        day: _of_shard(_of_day(read_entity_rows(env, day), day), list(join_keys), shard, shards)
        for day in days
    }
    whole = pl.concat(list(asked.values()), how="vertical_relaxed")
    if whole.is_empty() and shards == 1:
        raise DataError(
            f"nothing was asked from {days[0]} to {days[-1]}",
            where=env.lifecycle.spec.label.rows,
            fix="run the features stages for those days, or choose others",
        )
    scored = _score(bundle, point_in_time(env, whole), join_keys).with_columns(
        pl.lit(version).alias(columns.VERSION), pl.lit(f"score-{shard}-of-{shards}").alias(columns.WRITER)
    )
    start, digests, size = 0, [], 0
    for day, rows in asked.items():
        data = to_parquet(scored.slice(start, rows.height))
        start += rows.height
        key = _key(env, day, chosen, shard, shards)
        _forget_others(env, key, version, shards)
        env.store.put(key, data)
        digests.append(digest(data))
        size += len(data)
    env.log.info("%d rows scored", scored.height)
    reference = Reference(
        "scores",
        env.store.uri(f"{env.lifecycle.name}/{SCORES}"),
        digest(canonical_json(digests)),
        rows=scored.height,
        bytes=size,
        meta={
            "start": str(days[0]),
            "end": str(days[-1]),
            "version": version,
            "digest": bundle.digest,
            "shard": shard,
            "shards": shards,
        },
    )
    facts: dict[str, Any] = {"rows": scored.height, "version": version}
    if scored.height:
        facts["mean_prediction"] = round(float(scored[columns.PREDICTION].to_numpy().mean()), 5)
        facts["first_id"] = scored[columns.PREDICTION_ID][0]
    return StageResult(outputs={"scores": reference}, facts=facts)


def still_there(result: StageResult, env: StageEnv) -> bool:
    """Whether the files are still those of the result: another scoring since may have written them, and
    another sharding taken their place.
    """
    output = result.outputs["scores"]
    meta = output.meta
    keys = [_key(env, day, meta, meta["shard"], meta["shards"]) for day in days_of(meta)]
    try:
        digests = [digest(env.store.get(key)) for key in keys]
    except NotFoundError:
        return False
    return digest(canonical_json(digests)) == output.digest


def _asked(request: StageRequest) -> tuple[list[date], int, int]:
    params = request.params
    shard, shards = int(params.get("shard", 0)), int(params.get("shards", 1))
    if not 0 <= shard < shards:
        raise RequestError(f"shard {shard} of {shards} is none", where="score", fix="shards count from 0")
    return days_of(params), shard, shards


def _chosen(request: StageRequest, env: StageEnv) -> dict[str, str]:
    """The version that this run scores with: version, bundle, digest. Whichever shard asks first decides."""
    wanted = request.params.get("version")
    registry = ModelRegistry(env.settings.tracking_uri)
    if wanted:
        return _described(registry.get(env.lifecycle.name, str(wanted)))
    champion = registry.champion(env.lifecycle.name)
    if champion is None:
        raise NotFoundError(
            f"{env.lifecycle.name} has no champion to score with",
            where="MLflow",
            fix="promote a version first",
        )
    key = f"{env.lifecycle.name}/scoring/{run_folder(request.run_id)}.json"
    env.store.put_new(key, canonical_json(_described(champion)))
    chosen: dict[str, str] = json.loads(env.store.get(key))
    return chosen


def _described(version: RegisteredVersion) -> dict[str, str]:
    return {"version": version.version, "bundle": version.bundle, "digest": version.bundle_digest}


def _of_day(rows: pl.DataFrame, day: date) -> pl.DataFrame:
    """With each row's place on the day, and the moment that stands for the day."""
    midnight = datetime.combine(day, time(), UTC)
    return rows.with_row_index(_INDEX).with_columns(pl.lit(midnight).alias(_MIDNIGHT))


def _of_shard(rows: pl.DataFrame, keys: Sequence[str], shard: int, shards: int) -> pl.DataFrame:
    joined = rows.select(
        pl.concat_str([pl.col(key).cast(pl.String) for key in keys], separator="\x1f")
    ).to_series()
    mine = [zlib.crc32(str(value).encode()) % shards == shard for value in joined]
    return rows.filter(pl.Series(mine, dtype=pl.Boolean))


def answers(
    bundle: Bundle, inputs: NDArray[np.float64], rows: pl.DataFrame, keys: Sequence[str]
) -> NDArray[np.float64]:
    """Predictions [N]. Raises DataError where a request would be refused as well."""
    if not len(inputs):
        return np.empty(0)
    if bundle.manifest["input"]["dtype"] == "float32":
        _refuse(np.any(np.abs(inputs) > _FP32_MAX, axis=1), rows, keys, "has a number above 3.4e38")
    predictions = bundle.predict(inputs)
    _refuse(~np.isfinite(predictions), rows, keys, "gets no number from the model")
    return predictions


def _refuse(bad: NDArray[np.bool_], rows: pl.DataFrame, keys: Sequence[str], what: str) -> None:
    if not bad.any():
        return
    row = rows.row(int(bad.argmax()), named=True)
    asked = ", ".join(f"{key}={row[key]}" for key in keys)
    raise DataError(
        f"{int(bad.sum()):,} of {len(bad):,} rows cannot be scored; the first {what}",
        where=f"{asked}, {EVENT_TIMESTAMP}={row[EVENT_TIMESTAMP]}",
        fix="look at the features of such rows; serving refuses them too",
    )


def _score(bundle: Bundle, rows: pl.DataFrame, join_keys: Mapping[str, str]) -> pl.DataFrame:
    """What the bundle answers to each row, in the log's format; version and writer are yet to be told."""
    inputs = to_inputs(rows, bundle.features, bundle.defaults)
    shape = schema(bundle.features, join_keys)
    features = pl.DataFrame(inputs, schema=list(bundle.features), orient="row").fill_nan(None)
    told = {
        columns.PREDICTION_ID: _ids(bundle.digest, rows, inputs, list(join_keys)),
        columns.TIME: rows[_MIDNIGHT],
        columns.ENTITIES: rows.select(list(join_keys)).to_struct(),
        columns.EVENT_TIME: rows[EVENT_TIMESTAMP].dt.convert_time_zone("UTC"),
        columns.FEATURES: features.to_struct(),
        columns.MISSING: np.isnan(to_inputs(rows, bundle.features, {})).sum(axis=1),
        columns.PREDICTION: answers(bundle, inputs, rows, list(join_keys)),
    }
    same = {columns.ROW: 0, columns.DIGEST: bundle.digest, columns.ROLE: "batch"}
    return pl.DataFrame(told).select(
        pl.col(name).cast(kind) if name in told else pl.lit(same.get(name), kind).alias(name)
        for name, kind in shape.items()
    )


def _ids(name: str, rows: pl.DataFrame, inputs: NDArray[np.float64], keys: Sequence[str]) -> list[str]:
    told = rows.select(
        _MIDNIGHT, _INDEX, *keys, pl.col(EVENT_TIMESTAMP).dt.epoch("us").alias(EVENT_TIMESTAMP)
    ).rows()
    return [
        derived_id(midnight, f"{name} {asked!r} ".encode() + numbers.tobytes())
        for (midnight, *asked), numbers in zip(told, inputs, strict=True)
    ]


def _key(env: StageEnv, day: date, chosen: Mapping[str, Any], shard: int, shards: int) -> str:
    folder = hour_folder(env.lifecycle.name, datetime.combine(day, time(), UTC), SCORES)
    return f"{folder}/{chosen['version']}-{shard}-of-{shards}-{short(chosen['digest'])}.parquet"


def _forget_others(env: StageEnv, key: str, version: str, shards: int) -> None:
    """Files of a scoring with another number of shards, or by another bundle that went by the same version,
    would count rows twice.
    """
    folder, _, name = key.rpartition("/")
    for entry in env.store.list(folder):
        found = _FILE.fullmatch(entry.key.rpartition("/")[2])
        if not found or found["version"] != version:
            continue
        if found["shards"] != str(shards) or not name.endswith(f"-{found['bundle']}.parquet"):
            env.store.delete(entry.key)

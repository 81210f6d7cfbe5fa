"""snapshot: labelled questions of the past, with the features known at each moment, frozen under a digest.

The windows, for a snapshot of the data up to and including `end`:

    | training window | labels on their way | evaluation window | labels on their way |
                                            ^ cutoff                            end ^

The last `delayDays` days have no labels yet. The evaluation window lies before them, and the training window
ends `delayDays` before that: a model trained at the cutoff could not have known fresher labels either.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import polars as pl

from windtunnel.digests import canonical_json, digest
from windtunnel.errors import DataError
from windtunnel.features.daily import (
    day_of,
    days_between,
    digest_of,
    feature_rows_of,
    partitions_of,
    span,
    to_parquet,
)  # fmt: skip
from windtunnel.features.definitions import EVENT_TIMESTAMP, load_definitions
from windtunnel.features.describe import model_features
from windtunnel.features.point_in_time import (
    entity_columns,
    feature_files,
    point_in_time,
    read_entity_rows,
)
from windtunnel.stages.base import Reference, StageResult

if TYPE_CHECKING:
    from collections.abc import Sequence

    from windtunnel.spec.lifecycle import Lifecycle
    from windtunnel.stages.base import StageEnv, StageRequest

API_VERSION = "windtunnel.dev/v1alpha1"


@dataclass(frozen=True)
class Windows:
    """Days, both ends included."""

    training: list[date]
    evaluation: list[date]

    @classmethod
    def of(cls, lifecycle: Lifecycle, end: date) -> Windows:
        spec = lifecycle.spec
        delay = timedelta(days=spec.label.delay_days)
        evaluation_end, evaluation_start = end - delay, lifecycle.cutoff(end)
        training_end = evaluation_start - timedelta(days=1) - delay
        training_start = training_end - timedelta(days=spec.training.window_days - 1)
        return cls(days_between(training_start, training_end), days_between(evaluation_start, evaluation_end))

    @property
    def cutoff(self) -> date:
        """The first day that the model must not have seen anything of."""
        return self.evaluation[0]


def identity(request: StageRequest, env: StageEnv) -> dict[str, Any]:
    end = day_of(request.params, "end")
    windows = Windows.of(env.lifecycle, end)
    days = days_between(windows.training[0], end)
    partitions = {
        source: partitions_of(env.store, env.lifecycle.name, source).sidecars(days)
        for source in env.lifecycle.spec.sources
    }
    return {"end": str(end), "partitions": digest_of(partitions), "features": _feature_rows_up_to(env, end)}


def _feature_rows_up_to(env: StageEnv, end: date) -> dict[str, list[Any]]:
    """All feature rows by entity tag, one listing per view; which of them a ttl lets in is seen later."""
    rows = {}
    for view in env.lifecycle.spec.features.views:
        files = feature_rows_of(env.store, env.lifecycle.name, view)
        rows[view] = [
            [e.key, e.size, e.etag] for e in env.store.list(files.prefix) if e.key <= files.key(end)
        ]
    return rows


def run(request: StageRequest, env: StageEnv) -> StageResult:
    end = day_of(request.params, "end")
    windows = Windows.of(env.lifecycle, end)
    _refuse_missing(windows, end, env)
    asked = {day: read_entity_rows(env, day) for day in [*windows.training, *windows.evaluation]}
    label = env.lifecycle.spec.label.column
    labelled = {day: rows.filter(pl.col(label).is_not_null()) for day, rows in asked.items()}
    unlabelled = sum(rows.height for rows in asked.values()) - sum(rows.height for rows in labelled.values())
    training = pl.concat([labelled[day] for day in windows.training], how="vertical_relaxed")
    evaluation = pl.concat([labelled[day] for day in windows.evaluation], how="vertical_relaxed")
    for name, rows, days in (
        ("training", training, windows.training),
        ("evaluation", evaluation, windows.evaluation),
    ):
        if rows.is_empty():
            raise DataError(
                f"there is no labelled row in the {name} window {span(days)}",
                where=env.lifecycle.spec.label.rows,
                fix=f"check where it sets {label!r}",
            )
    env.log.info(
        "training %s: %d rows; evaluation %s: %d rows; %d without a label left out",
        span(windows.training), training.height, span(windows.evaluation), evaluation.height, unlabelled,
    )  # fmt: skip
    joined = point_in_time(env, pl.concat([training, evaluation], how="vertical_relaxed"))
    joined = joined.select(_columns(env))
    reference = _freeze(
        env, windows, joined.head(training.height), joined.tail(evaluation.height), unlabelled
    )
    facts = {
        "train_rows": training.height,
        "evaluation_rows": evaluation.height,
        "unlabelled": unlabelled,
        "missing": _missing_shares(joined, reference.meta["features"]),
    }
    env.log.info("snapshot %s", reference.digest)
    return StageResult(outputs={"snapshot": reference}, facts=facts)


def _columns(env: StageEnv) -> list[str]:
    """Join keys, event_timestamp, slices; then the features in the model's order; then the label."""
    definitions = load_definitions(env.directory, env.lifecycle)
    features = [feature["name"] for feature in model_features(definitions, env.lifecycle)]
    label = env.lifecycle.spec.label.column
    about = [name for name in entity_columns(definitions, env) if name not in features and name != label]
    return [*about, *features, label]


def _freeze(
    env: StageEnv, windows: Windows, training: pl.DataFrame, evaluation: pl.DataFrame, unlabelled: int
) -> Reference:
    """Write the files and, last, the manifest; its digest is the snapshot's name."""
    spec = env.lifecycle.spec
    definitions = load_definitions(env.directory, env.lifecycle)
    files = {"train.parquet": to_parquet(training), "evaluation.parquet": to_parquet(evaluation)}
    meta = {
        "label": spec.label.column,
        "kind": spec.label.kind,
        "features": [feature["name"] for feature in model_features(definitions, env.lifecycle)],
        "slices": list(spec.evaluation.slices),
        "start": str(windows.training[0]),
        "end": str(windows.evaluation[-1]),
        "cutoff": str(windows.cutoff),
        "train_rows": training.height,
        "evaluation_rows": evaluation.height,
    }
    manifest = {
        "apiVersion": API_VERSION,
        "kind": "Snapshot",
        "lifecycle": env.lifecycle.name,
        "spec": env.lifecycle.digest,
        **{name: value for name, value in meta.items() if name != "kind"},
        "label_kind": spec.label.kind,
        "training": [str(windows.training[0]), str(windows.training[-1])],
        "evaluation": [str(windows.evaluation[0]), str(windows.evaluation[-1])],
        "unlabelled": unlabelled,
        "views": _views_behind(env, [training, evaluation]),
        # The files keep what is missing as null; readers put these in its place.
        "defaults": {feature: value for (_, feature), value in definitions.defaults.items()},
        "files": {name: digest(data) for name, data in files.items()},
    }
    content = canonical_json(manifest)
    name = digest(content)
    folder = f"{env.lifecycle.name}/snapshots/{name.removeprefix('sha256:')}"
    for file, data in files.items():
        env.store.put(f"{folder}/{file}", data)
    env.store.put(f"{folder}/manifest.json", content)
    return Reference(
        kind="snapshot",
        uri=env.store.uri(folder),
        digest=name,
        rows=training.height + evaluation.height,
        bytes=sum(len(data) for data in files.values()),
        meta=meta,
    )


def _views_behind(env: StageEnv, frames: Sequence[pl.DataFrame]) -> dict[str, dict[str, Any]]:
    """Which feature rows the join could see, by view: the digest changes with any of them."""
    moments = pl.concat([frame[EVENT_TIMESTAMP].dt.date() for frame in frames])
    files = feature_files(env, moments.min(), moments.max())  # type: ignore[arg-type]
    return {
        view: {
            "days": [str(min(days)), str(max(days))],
            "rows": sum(sidecar.rows for sidecar in days.values()),
            "digest": digest_of({view: days}),
        }
        for view, days in files.items()
    }


def _refuse_missing(windows: Windows, end: date, env: StageEnv) -> None:
    """Days that were never extracted or transformed; a day in quarantine is known and merely empty.

    Partitions are needed up to `end`: the last of them bring the labels of the days before.
    """
    asked = set(days_between(windows.training[0], windows.evaluation[-1]))
    labelled = asked | set(days_between(windows.evaluation[-1], end))
    name, spec = env.lifecycle.name, env.lifecycle.spec
    needed = [
        (f"source {source!r} has no clean partition", partitions_of(env.store, name, source), labelled)
        for source in spec.sources
    ]
    needed += [
        (f"view {view!r} has no feature rows", feature_rows_of(env.store, name, view), asked)
        for view in spec.features.views
    ]
    for problem, files, days in needed:
        missing = days - files.known_days()
        if missing:
            raise DataError(
                f"{problem} for {span(missing)}",
                where=env.store.uri(files.prefix),
                fix="run the features stages for those days, or choose another end or shorter windows",
            )


def _missing_shares(rows: pl.DataFrame, features: list[str]) -> dict[str, float]:
    """Share of rows without a value, of the features that miss any."""
    shares = {name: rows[name].null_count() / max(rows.height, 1) for name in features}
    return {name: round(share, 4) for name, share in shares.items() if share}

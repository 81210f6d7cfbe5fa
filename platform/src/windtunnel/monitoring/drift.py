"""Drift of a window's features, predictions and labels against the reference profile."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from windtunnel.monitoring.embedding import embed
from windtunnel.monitoring.labels import DAY, FOUND, LABEL, SLICE
from windtunnel.monitoring.measures import Drift
from windtunnel.monitoring.quality import labelled
from windtunnel.monitoring.reference import LABEL as LABEL_COLUMN
from windtunnel.monitoring.reference import PREDICTION
from windtunnel.monitoring.seasons import seasons_of
from windtunnel.monitoring.windows import moments
from windtunnel.prediction_log import columns
from windtunnel.stats.drift import DriftRule, compare
from windtunnel.stats.embeddings import compare_embeddings

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from windtunnel.monitoring.reference import ReferenceProfile
    from windtunnel.spec.lifecycle import LifecycleSpec
    from windtunnel.stats.drift import ColumnDrift
    from windtunnel.stats.reference_profile import FrameProfile

_FAMILIES: Final = 5
"""Comparisons that share alpha: features, other columns, prediction, label, embedding."""


def measure_drift(
    rows: pl.DataFrame,
    told: pl.DataFrame,
    profile: ReferenceProfile,
    spec: LifecycleSpec,
    directory: Path,
) -> Drift:
    """Of a window's rows, and of `told`: rows whose labels and slices were looked for. Raises SpecError and
    DataError for the lifecycle's embedding function.
    """
    rule = DriftRule(alpha=spec.monitoring.alpha / _FAMILIES, min_rows=spec.monitoring.min_rows)
    inputs = rows[columns.FEATURES].struct.unnest()
    found = _compare(profile.features, inputs, rows, rule, profile)
    found += _beside(rows, told, profile, rule, spec.monitoring.min_rows)
    if profile.embedding is not None:
        vectors = embed(directory, spec.monitoring.embedding, inputs)
        if vectors is not None:
            of_rows = _of_rows(rows, profile)
            found.append(compare_embeddings(profile.embedding, vectors.to_numpy(), rule, *of_rows))
    (prediction, *_) = _compare(
        profile.prediction, rows.select(pl.col(columns.PREDICTION).alias(PREDICTION)), rows, rule, profile
    )
    label = _label(labelled(told), profile, rule, spec.monitoring.min_rows)
    told_of = [*found, *(one for one in (prediction, label) if one is not None)]
    return Drift(
        columns=tuple(one.to_json() for one in sorted(found, key=_most_drifted)),
        prediction=prediction.to_json(),
        label=label.to_json() if label else None,
        drifted=tuple(dict.fromkeys(one.column for one in sorted(told_of, key=_most_drifted) if one.drifted)),
    )


def _compare(
    reference: FrameProfile,
    frame: pl.DataFrame,
    rows: pl.DataFrame,
    rule: DriftRule,
    profile: ReferenceProfile,
) -> list[ColumnDrift]:
    return compare(reference, frame, rule, *_of_rows(rows, profile))


def _of_rows(rows: pl.DataFrame, profile: ReferenceProfile) -> tuple[pl.Series, pl.Series | None]:
    """Day and season of each row."""
    when = moments(rows)
    seasons: Any = profile.seasons
    return when.dt.date(), seasons_of(when, seasons)


def _beside(
    rows: pl.DataFrame, told: pl.DataFrame, profile: ReferenceProfile, rule: DriftRule, least: int
) -> list[ColumnDrift]:
    """Join keys are in the log; slices came with the labels' rows, so far as those were found."""
    entities = rows[columns.ENTITIES]
    logged = entities.struct.unnest() if isinstance(entities.dtype, pl.Struct) else pl.DataFrame()
    names = list(profile.columns.columns)
    at_hand = [name for name in names if name in logged.columns and logged[name].null_count() < rows.height]
    found = []
    if at_hand:
        frame = logged.select(pl.col(name).cast(pl.String) for name in at_hand)
        found += _compare(_only(profile.columns, at_hand), frame, rows, rule, profile)
    joined = [name for name in names if name not in at_hand and SLICE + name in told.columns]
    if not joined:
        return found
    matched = told.filter(FOUND)
    if matched.height >= least:
        frame = matched.select(pl.col(SLICE + name).alias(name) for name in joined)
        found += _compare(_only(profile.columns, joined), frame, matched, rule, profile)
    return found


def _only(profile: FrameProfile, names: Iterable[str]) -> FrameProfile:
    """The profile of some of its columns, without how they go together."""
    chosen = set(names)
    columns_ = {name: one for name, one in profile.columns.items() if name in chosen}
    return replace(profile, columns=columns_, dependence=replace(profile.dependence, names=[]))


def _label(rows: pl.DataFrame, profile: ReferenceProfile, rule: DriftRule, least: int) -> ColumnDrift | None:
    if rows.height < least:
        return None
    frame = rows.select(pl.col(LABEL).alias(LABEL_COLUMN))
    seasons: Any = profile.seasons
    found = compare(profile.label, frame, rule, rows[DAY], seasons_of(moments(rows), seasons))
    return found[0]


def _most_drifted(one: ColumnDrift) -> tuple[bool, float, float]:
    return (not one.drifted, one.adjusted_p_value, -one.effect)

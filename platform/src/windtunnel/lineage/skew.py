"""Training-serving skew of one prediction: the features that were served beside those that a training set
would hold for the same entity at the same moment.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from windtunnel.errors import RequestError
from windtunnel.features.definitions import EVENT_TIMESTAMP, load_definitions
from windtunnel.features.feature_rows import TYPES
from windtunnel.features.point_in_time import point_in_time
from windtunnel.registry.snapshots import to_inputs

if TYPE_CHECKING:
    from windtunnel.features.point_in_time import FeatureEnv
    from windtunnel.lineage.answers import Answer

CLOSE = 1e-9
"""Relative difference of two doubles that tell the same; a view of type FLOAT32 keeps fewer digits."""


@dataclass(frozen=True)
class Difference:
    """One feature of one row that served and offline values disagree about; NaN is no value."""

    row: int
    feature: str
    served: float
    offline: float


@dataclass(frozen=True)
class Skew:
    """What came of the comparison."""

    compared: int
    """Values: rows times stored features."""
    differences: tuple[Difference, ...]


def skew(answer: Answer, features: dict[str, str], defaults: dict[str, float], env: FeatureEnv) -> Skew:
    """Ask the offline store what was known of the answer's entities at its moment.

    `features` are the model's, each with its source (`<view>:<feature>` or `request`); `defaults` stand for
    missing ones. Raises RequestError for an answer whose features came with the request, DataError when
    there are no feature rows, SpecError.
    """
    if any(entities is None for entities in answer.entities):
        raise RequestError(
            "its features came with the request: there is nothing to compare them with",
            where="offline store",
            fix="only requests by entity are read from the online store",
        )
    definitions = load_definitions(env.directory, env.lifecycle)
    stored = [name for name, source in features.items() if source != "request"]
    moment = answer.event_time or answer.time
    rows = pl.DataFrame(
        [{key: (entities or {}).get(key) for key in definitions.join_keys} for entities in answer.entities],
        schema_overrides={key: TYPES[kind] for key, kind in definitions.join_keys.items()},
    ).with_columns(pl.lit(moment).cast(pl.Datetime("us", "UTC")).alias(EVENT_TIMESTAMP))
    offline = to_inputs(point_in_time(env, rows), stored, defaults)
    columns = [answer.names.index(name) for name in stored]
    differences = []
    for row in range(len(answer.inputs)):
        for place, name in enumerate(stored):
            served, known = float(answer.inputs[row, columns[place]]), float(offline[row, place])
            if not _same(served, known):
                differences.append(Difference(row, name, served, known))
    return Skew(len(answer.inputs) * len(stored), tuple(differences))


def _same(a: float, b: float) -> bool:
    if math.isnan(a) or math.isnan(b):
        return math.isnan(a) and math.isnan(b)
    return math.isclose(a, b, rel_tol=CLOSE, abs_tol=0.0)

"""Training-serving skew: features as they were served beside those that a training set would hold for the
same entity at the same moment.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import polars as pl

from windtunnel.features.definitions import EVENT_TIMESTAMP, load_definitions
from windtunnel.features.feature_rows import TYPES
from windtunnel.features.point_in_time import point_in_time
from windtunnel.monitoring.measures import Skew
from windtunnel.monitoring.windows import moments
from windtunnel.prediction_log import columns
from windtunnel.registry.snapshots import to_inputs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    import numpy as np
    from numpy.typing import NDArray

    from windtunnel.features.point_in_time import FeatureEnv

CLOSE: Final = 1e-9
"""Relative difference of two doubles that tell the same; a view of type FLOAT32 keeps fewer digits."""
_EXAMPLES: Final = 5


@dataclass(frozen=True)
class Difference:
    """One feature of one row that served and offline values disagree about; NaN is no value."""

    row: int
    feature: str
    served: float
    offline: float


def offline_values(
    env: FeatureEnv,
    entities: Sequence[Mapping[str, str | int] | None],
    when: Sequence[datetime],
    names: Sequence[str],
    defaults: Mapping[str, float],
) -> NDArray[np.float64]:
    """Features [N, len(names)] that the offline store knew of these entities at these moments (UTC), as a
    model gets them. Raises DataError when there are no feature rows, SpecError.
    """
    definitions = load_definitions(env.directory, env.lifecycle)
    rows = pl.DataFrame(
        [{key: (one or {}).get(key) for key in definitions.join_keys} for one in entities],
        schema={key: TYPES[kind] for key, kind in definitions.join_keys.items()},
    ).with_columns(pl.Series(EVENT_TIMESTAMP, when, pl.Datetime("us", "UTC")))
    return to_inputs(point_in_time(env, rows), names, defaults)


def differences(
    served: NDArray[np.float64], offline: NDArray[np.float64], names: Sequence[str]
) -> list[Difference]:
    """Where two matrices [N, F] with these columns disagree, row by row."""
    return [
        Difference(row, name, float(served[row, place]), float(offline[row, place]))
        for row in range(len(served))
        for place, name in enumerate(names)
        if not _same(float(served[row, place]), float(offline[row, place]))
    ]


def measure_skew(
    env: FeatureEnv,
    rows: pl.DataFrame,
    sources: Mapping[str, str],
    defaults: Mapping[str, float],
    most: int,
) -> Skew | None:
    """Of the newest `most` rows that were asked by entity; None where there is none.

    `sources` are the model's features, each with its source (`<view>:<feature>` or `request`). Raises as
    `offline_values`.
    """
    stored = [name for name, source in sources.items() if source != "request"]
    if not most or not stored or not isinstance(rows.schema[columns.ENTITIES], pl.Struct):
        return None
    chosen = rows.filter(pl.col(columns.ENTITIES).is_not_null()).tail(most)
    if chosen.is_empty():
        return None
    served = to_inputs(chosen[columns.FEATURES].struct.unnest(), stored, {})
    offline = offline_values(
        env, chosen[columns.ENTITIES].to_list(), moments(chosen).to_list(), stored, defaults
    )
    found = differences(served, offline, stored)
    by_feature = {name: sum(one.feature == name for one in found) for name in stored}
    compared = served.size
    return Skew(
        rows=chosen.height,
        compared=compared,
        different=len(found),
        share=len(found) / compared,
        examples=tuple(
            {
                "prediction_id": chosen[columns.PREDICTION_ID][one.row],
                "row": int(chosen[columns.ROW][one.row]),
                "feature": one.feature,
                "served": _value(one.served),
                "offline": _value(one.offline),
            }
            for one in found[:_EXAMPLES]
        ),
        features={name: count for name, count in by_feature.items() if count},
    )


def _value(number: float) -> float | None:
    return None if math.isnan(number) else number


def _same(a: float, b: float) -> bool:
    if math.isnan(a) or math.isnan(b):
        return math.isnan(a) and math.isnan(b)
    return math.isclose(a, b, rel_tol=CLOSE, abs_tol=0.0)

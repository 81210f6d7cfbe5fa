"""Training-serving skew of one prediction: the features that were served beside those that a training set
would hold for the same entity at the same moment.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from windtunnel.errors import RequestError
from windtunnel.monitoring.skew import Difference, differences, offline_values

if TYPE_CHECKING:
    from windtunnel.features.point_in_time import FeatureEnv
    from windtunnel.lineage.answers import Answer


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
    stored = [name for name, source in features.items() if source != "request"]
    moment = answer.event_time or answer.time
    offline = offline_values(env, answer.entities, [moment] * len(answer.inputs), stored, defaults)
    served = answer.inputs[:, [answer.names.index(name) for name in stored]]
    return Skew(served.size, tuple(differences(served, offline, stored)))

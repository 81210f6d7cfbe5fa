"""Train the flight delay model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sklearn.ensemble import HistGradientBoostingClassifier

if TYPE_CHECKING:
    import pandas as pd

# More past delays, wind and rain, and less sight, never make a flight more punctual. Saying so keeps the
# trees from learning the accidents of one month; with freer trees a logistic regression would be the better
# model here.
DIRECTIONS = {"wind_speed": 1, "wind_gust": 1, "precip": 1, "visib": -1}


def train(features: pd.DataFrame, label: pd.Series) -> HistGradientBoostingClassifier:
    """Small gradient-boosted trees: four weeks of flights share only four weeks of weather.

    Missing features stay NaN, which the trees understand. No `categorical_features`: their conversion to ONNX
    gives other answers, and the bundle's parity proof would refuse it. With a fixed seed and without early
    stopping, equal snapshots give equal models.
    """
    delays = {name: 1 for name in features.columns if "_late_" in name or "_delay_" in name}
    model = HistGradientBoostingClassifier(
        learning_rate=0.05,
        max_iter=100,
        max_leaf_nodes=4,
        min_samples_leaf=200,
        l2_regularization=10.0,
        monotonic_cst={**delays, **DIRECTIONS},
        early_stopping=False,
        random_state=0,
    )
    return model.fit(features, label)

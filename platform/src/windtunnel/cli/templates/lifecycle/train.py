"""Train the model: any scikit-learn estimator will do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

if TYPE_CHECKING:
    import pandas as pd


def train(features: pd.DataFrame, label: pd.Series) -> Pipeline:
    """All features are float64 and NaN where nothing is known: a new customer has no history."""
    model = make_pipeline(
        SimpleImputer(strategy="constant", fill_value=0.0), StandardScaler(), LogisticRegression()
    )
    return model.fit(features, label)

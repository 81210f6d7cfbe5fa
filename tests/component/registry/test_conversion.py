"""What serving runs answers as the trained model does, or is not served."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from windtunnel.errors import DataError, PermanentError
from windtunnel.registry.conversion import TOLERANCE, check_estimator, convert, predict_estimator
from windtunnel.registry.runtimes import load_predictor

if TYPE_CHECKING:
    from numpy.typing import NDArray

NAMES = ["a", "b", "c", "kind"]


def rows(missing: bool = True, count: int = 2000) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    random = np.random.default_rng(0)
    inputs = random.normal(100, 30, (count, 4))
    inputs[:, 3] = random.integers(0, 12, count)
    odds = (inputs[:, 0] - 100) / 30 + np.isin(inputs[:, 3], [2, 5, 7]) * 2 - 1
    label = (random.random(count) < 1 / (1 + np.exp(-odds))).astype(int)
    if missing:
        inputs[random.random((count, 4)) < 0.05] = np.nan
    return inputs, label


def fit(estimator: Any, missing: bool = True) -> tuple[Any, NDArray[np.float64]]:
    inputs, label = rows(missing)
    return estimator.fit(pd.DataFrame(inputs, columns=NAMES), label), inputs


def serving_answers(converted: Any, inputs: NDArray[np.float64]) -> NDArray[np.float64]:
    manifest = {"runtime": converted.runtime, "input": converted.input, "output": converted.output}
    return load_predictor(manifest, converted.model, "test")(inputs)


CONVERTIBLE = {
    "boosted trees": HistGradientBoostingClassifier(max_iter=20, random_state=0),
    "logistic": make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression()),
    "forest": make_pipeline(SimpleImputer(), RandomForestClassifier(10, random_state=0)),
}


@pytest.mark.parametrize("name", CONVERTIBLE)
def test_classifiers_become_onnx_with_the_same_probabilities(name: str) -> None:
    estimator, inputs = fit(CONVERTIBLE[name])
    converted = convert(estimator, "binary", NAMES, inputs)
    assert converted.runtime == "onnx"
    assert converted.input["missing"] == "allowed"
    assert converted.parity["rows"] == 2000
    assert converted.parity["missing_rows"] == 201
    assert converted.parity["max_abs_difference"] <= TOLERANCE
    expected = predict_estimator(estimator, "binary", NAMES, inputs)
    assert serving_answers(converted, inputs) == pytest.approx(expected, abs=TOLERANCE)


@pytest.mark.parametrize(
    "estimator", [HistGradientBoostingRegressor(max_iter=20), make_pipeline(SimpleImputer(), Ridge())]
)
def test_regressors_become_onnx_with_the_same_values(estimator: Any) -> None:
    fitted, inputs = fit(estimator)
    converted = convert(fitted, "regression", NAMES, inputs)
    assert converted.runtime == "onnx"
    assert converted.output == {"name": "value", "kind": "regression"}
    expected = predict_estimator(fitted, "regression", NAMES, inputs)
    assert serving_answers(converted, inputs) == pytest.approx(expected, abs=converted.parity["tolerance"])


def test_a_conversion_that_silently_answers_something_else_is_not_served() -> None:
    estimator, inputs = fit(
        HistGradientBoostingClassifier(max_iter=20, categorical_features=[3], random_state=0)
    )
    converted = convert(estimator, "binary", NAMES, inputs)
    assert converted.runtime == "skops"
    assert "answers differ by" in converted.refused[0]
    expected = predict_estimator(estimator, "binary", NAMES, inputs)
    assert serving_answers(converted, inputs) == pytest.approx(expected, abs=0)


def test_large_values_take_float64_when_float32_would_round_them() -> None:
    inputs, _ = rows(missing=False)
    inputs[:, 0] += 1e8
    label = (inputs[:, 0] > 1e8 + 100).astype(int)
    estimator = make_pipeline(StandardScaler(), LogisticRegression()).fit(
        pd.DataFrame(inputs, columns=NAMES), label
    )
    converted = convert(estimator, "binary", NAMES, inputs)
    assert (converted.runtime, converted.input["dtype"]) == ("onnx", "float64")
    assert converted.refused[0].startswith("onnx float32: answers differ")


def test_an_estimator_without_missing_values_is_marked_so() -> None:
    estimator, inputs = fit(LogisticRegression(max_iter=1000), missing=False)
    converted = convert(estimator, "binary", NAMES, inputs)
    assert converted.input["missing"] == "refused"
    assert converted.parity["missing_rows"] == 0


def test_missing_values_that_the_model_cannot_take_are_named() -> None:
    estimator, _ = fit(LogisticRegression(max_iter=1000), missing=False)
    with pytest.raises(DataError, match=r"feature 'a' has some.*imputer"):
        convert(estimator, "binary", NAMES, rows()[0])


def test_equal_models_give_equal_bytes() -> None:
    for options in ({}, {"categorical_features": [3]}):
        first, inputs = fit(HistGradientBoostingClassifier(max_iter=5, random_state=0, **options))
        second, _ = fit(HistGradientBoostingClassifier(max_iter=5, random_state=0, **options))
        kept = [object() for _ in range(1000)]  # other addresses in memory
        assert convert(first, "binary", NAMES, inputs).model == convert(second, "binary", NAMES, inputs).model
        del kept


class Homemade(LogisticRegression):  # type: ignore[misc]
    """A user's own class: no converter, and no type that serving would trust."""

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        return np.asarray(super().predict_proba(X)) ** 1.1


def test_a_users_own_class_is_refused_with_its_name() -> None:
    estimator, inputs = fit(Homemade(max_iter=1000), missing=False)
    with pytest.raises(PermanentError, match="Homemade"):
        convert(estimator, "binary", NAMES, inputs)


def test_columns_by_name_are_refused_because_serving_passes_arrays() -> None:
    by_name = make_pipeline(
        ColumnTransformer([("scaled", StandardScaler(), ["a", "b"])]), LogisticRegression()
    )
    estimator, inputs = fit(by_name, missing=False)
    with pytest.raises(PermanentError, match=r"by position|does not run"):
        convert(estimator, "binary", NAMES, inputs)


def test_estimators_that_do_not_fit_the_label_are_refused() -> None:
    inputs, label = rows(missing=False)
    with pytest.raises(PermanentError, match="predict_proba"):
        check_estimator(Ridge().fit(inputs, label), "binary")
    with pytest.raises(PermanentError, match="no regressor"):
        check_estimator(LogisticRegression(max_iter=1000).fit(inputs, label), "regression")
    with pytest.raises(PermanentError, match="classes"):
        check_estimator(LogisticRegression(max_iter=1000).fit(inputs, label + 1), "binary")

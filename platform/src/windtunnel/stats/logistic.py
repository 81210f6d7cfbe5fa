"""Logistic and linear baselines fitted by Newton's method: what a model must be worth more than."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_STEPS = 50


@dataclass(frozen=True)
class Linear:
    """coefficients: [1 + F], the intercept first; `binary` puts a logistic function on top."""

    coefficients: NDArray[np.float64]
    binary: bool

    def predict(self, inputs: NDArray[np.float64]) -> NDArray[np.float64]:
        """Probabilities or values, [N], of inputs [N, F]."""
        score = self.coefficients[0] + inputs @ self.coefficients[1:]
        return _sigmoid(score) if self.binary else score


def _sigmoid(score: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(score, -35.0, 35.0))))


def fit_logistic(inputs: NDArray[np.float64], label: NDArray[np.float64], penalty: float = 1.0) -> Linear:
    """Ridge-penalised logistic regression with a free intercept; inputs [N, F] without NaN, label 0/1 [N]."""
    design = np.column_stack([np.ones(len(inputs)), inputs])
    ridge = np.full(design.shape[1], penalty)
    ridge[0] = 1e-9
    share = float(np.clip(label.mean(), 1e-6, 1.0 - 1e-6))
    beta = np.zeros(design.shape[1])
    beta[0] = np.log(share / (1.0 - share))

    def cost(candidate: NDArray[np.float64]) -> float:
        score = design @ candidate
        return float(np.logaddexp(0.0, score).sum() - label @ score + 0.5 * ridge @ np.square(candidate))

    for _ in range(_STEPS):
        probability = _sigmoid(design @ beta)
        gradient = design.T @ (probability - label) + ridge * beta
        hessian = (design * (probability * (1.0 - probability))[:, None]).T @ design + np.diag(ridge)
        step = np.linalg.solve(hessian, gradient)
        here, length = cost(beta), 1.0
        while cost(beta - length * step) > here + 1e-9 and length > 1e-6:
            length /= 2.0
        beta = beta - length * step
        if float(np.abs(length * step).max()) < 1e-8:
            break
    return Linear(beta, binary=True)


def fit_linear(inputs: NDArray[np.float64], label: NDArray[np.float64], penalty: float = 1.0) -> Linear:
    """Ridge regression (the intercept is free); inputs [N, F] without NaN, label [N]."""
    design = np.column_stack([np.ones(len(inputs)), inputs])
    ridge = np.full(design.shape[1], penalty)
    ridge[0] = 1e-9
    return Linear(np.linalg.solve(design.T @ design + np.diag(ridge), design.T @ label), binary=False)


@dataclass(frozen=True)
class LinearBaseline:
    """A penalised linear model on standardised inputs, with missing values imputed and flagged."""

    middle: NDArray[np.float64]
    spread: NDArray[np.float64]
    flagged: NDArray[np.bool_]
    linear: Linear

    @classmethod
    def fit(
        cls, kind: Literal["binary", "regression"], inputs: NDArray[np.float64], label: NDArray[np.float64]
    ) -> LinearBaseline:
        """Fit on inputs [N, F], NaN = missing, and label [N]."""
        missing = np.isnan(inputs)
        empty = missing.all(axis=0)
        filled = np.where(empty, 0.0, inputs)
        middle = np.nanmedian(filled, axis=0)
        spread = np.nanstd(filled, axis=0)
        spread = np.where(spread > 0.0, spread, 1.0)
        flagged = np.asarray(missing.any(axis=0) & ~empty, dtype=np.bool_)
        prepared = _prepare(inputs, middle, spread, flagged)
        fit = fit_logistic if kind == "binary" else fit_linear
        return cls(middle, spread, flagged, fit(prepared, label))

    def predict(self, inputs: NDArray[np.float64]) -> NDArray[np.float64]:
        """Probabilities or values, [N], of inputs [N, F]."""
        return self.linear.predict(_prepare(inputs, self.middle, self.spread, self.flagged))


def _prepare(
    inputs: NDArray[np.float64],
    middle: NDArray[np.float64],
    spread: NDArray[np.float64],
    flagged: NDArray[np.bool_],
) -> NDArray[np.float64]:
    missing = np.isnan(inputs)
    standard = (np.where(missing, middle, inputs) - middle) / spread
    return np.column_stack([standard, missing[:, flagged].astype(np.float64)])

"""One model version, ready to answer."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from windtunnel.features.online.online_reader import OnlineFeatures
    from windtunnel.serving.inputs import InputPlan

FloatArray = np.ndarray[Any, np.dtype[np.float64]]

ROWS_ON_LOOP: Final = 256
"""Larger batches are computed in a thread, so that they don't hold up single rows."""
_FP32_MAX: Final = float(np.finfo(np.float32).max)


class Predictor(Protocol):
    """The bundle's model."""

    def predict(self, features: FloatArray) -> FloatArray:
        """[rows, features] → [rows]; safe to call from several threads."""


class FeatureReader(Protocol):
    """Where online features come from."""

    async def read(self, entities: Mapping[str, Sequence[str | int]], now: float | None) -> OnlineFeatures:
        """What is known at `now` (seconds since 1970; None for the clock's). Raises StoreError."""


@dataclass(frozen=True, kw_only=True)
class VersionInterface:
    """What one model version is called, and how requests become its input."""

    lifecycle: str
    version: str
    digest: str
    runtime: str
    """onnx or skops."""
    output: str
    """Name of the answer: probability or value."""
    plan: InputPlan
    inputs: object
    """What the bundle says of its features; versions with equal ones take the same matrix."""
    single_precision: bool
    """The model computes in float32; larger numbers must not reach it."""
    reader: FeatureReader | None
    online_columns: tuple[int, ...]
    """Columns of the model's input that `reader` fills, in its order."""

    @property
    def largest(self) -> float:
        """The largest number that the model can compute with."""
        return _FP32_MAX if self.single_precision else math.inf

    def holds(self, matrix: FloatArray) -> bool:
        """Whether the model can compute with every number."""
        return not self.single_precision or not bool(np.any(np.abs(matrix) > _FP32_MAX))


@dataclass(frozen=True, kw_only=True)
class LoadedVersion(VersionInterface):
    """A verified and rehearsed bundle; everything that a request needs, so that a swap is one assignment."""

    predictor: Predictor
    prediction_edges: tuple[float, ...]
    """Upper bounds of the buckets in which its answers are counted."""
    memory_bytes: int = 0
    """By how much the process grew while this was loaded: about what it takes."""

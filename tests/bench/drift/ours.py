"""Windtunnel's drift, and two simple detectors that people write by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
import polars as pl
from scipy.stats import chi2_contingency, ks_2samp

from windtunnel.stats.drift import compare
from windtunnel.stats.reference_profile import FrameProfile, profile_frame
from windtunnel.stats.significance import benjamini_hochberg

if TYPE_CHECKING:
    from tests.bench.drift.quiet import Sample

_PSI = 0.2


class Detector(Protocol):
    """Made from a reference; names the columns of a window that it holds for drifted."""

    name: str

    def drifted(self, window: Sample) -> list[str]: ...


class Windtunnel:
    """A stored profile, as the platform has it, and its default rule."""

    name = "windtunnel"

    def __init__(self, reference: Sample) -> None:
        found = profile_frame(reference.frame, reference.blocks, reference.seasons)
        self._profile = FrameProfile.from_json(found.to_json())

    def drifted(self, window: Sample) -> list[str]:
        found = compare(self._profile, window.frame, blocks=window.blocks, seasons=window.seasons)
        return [column.column for column in found if column.drifted]


class Tests:
    """Kolmogorov-Smirnov for numbers, chi-squared for categories, Benjamini-Hochberg at 5 %."""

    name = "KS and chi-squared with Benjamini-Hochberg"

    def __init__(self, reference: Sample) -> None:
        self._reference = reference.frame

    def drifted(self, window: Sample) -> list[str]:
        p_values = [self._p_value(self._reference[name], window.frame[name]) for name in window.frame.columns]
        adjusted = benjamini_hochberg(p_values)
        return [name for name, p in zip(window.frame.columns, adjusted, strict=True) if p <= 0.05]

    @staticmethod
    def _p_value(reference: pl.Series, current: pl.Series) -> float:
        if reference.dtype == pl.String or reference.dtype == pl.Boolean:
            table = _counts(reference, current)
            return float(chi2_contingency(table).pvalue) if table.shape[1] > 1 else 1.0
        first, second = (values.drop_nulls().drop_nans().to_numpy() for values in (reference, current))
        return float(ks_2samp(first, second, method="asymp").pvalue) if len(first) and len(second) else 1.0


class StabilityIndex:
    """PSI over the reference's deciles or levels, above 0.2."""

    name = "PSI above 0.2"

    def __init__(self, reference: Sample) -> None:
        self._reference = reference.frame

    def drifted(self, window: Sample) -> list[str]:
        return [
            name
            for name in window.frame.columns
            if self._index(self._reference[name], window.frame[name]) > _PSI
        ]

    @staticmethod
    def _index(reference: pl.Series, current: pl.Series) -> float:
        if reference.dtype == pl.String or reference.dtype == pl.Boolean:
            table = _counts(reference, current)
        else:
            first, second = (values.drop_nulls().drop_nans().to_numpy() for values in (reference, current))
            if not len(first) or not len(second):
                return 0.0
            edges = np.unique(np.quantile(first, np.linspace(0.1, 0.9, 9)))
            table = np.stack(
                [
                    np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1)
                    for values in (first, second)
                ]
            )
        p, q = np.maximum(table / table.sum(axis=1, keepdims=True), 1e-4)
        return float(np.sum((q - p) * np.log(q / p)))


def _counts(reference: pl.Series, current: pl.Series) -> np.ndarray:
    """Rows by level, [2, levels]."""
    both = pl.concat([reference, current]).cast(pl.String).drop_nulls()
    levels = both.unique().to_list()
    found = []
    for values in (reference, current):
        rows = dict(values.cast(pl.String).value_counts().iter_rows())
        found.append([rows.get(level, 0) for level in levels])
    return np.array(found)

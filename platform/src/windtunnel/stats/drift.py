"""Whether a window's columns still look like the reference: statistics, significance, plain words.

A column has drifted when some aspect of it (see `aspects`) changed by more than `min_effect` and the change
is significant after all columns are accounted for. Both are needed: half a million rows make a trifle
significant, and a hundred rows make noise look large.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import polars as pl

from windtunnel.stats.category_columns import CategoryProfile, CategoryWindow
from windtunnel.stats.cells import Window
from windtunnel.stats.dependence import sample_of
from windtunnel.stats.distances import jensen_shannon, kolmogorov_smirnov, population_stability_index
from windtunnel.stats.histograms import Histogram, of_categories, of_numbers
from windtunnel.stats.number_columns import NumberProfile, NumberWindow
from windtunnel.stats.significance import benjamini_hochberg
from windtunnel.stats.text_columns import TextWindow

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from windtunnel.stats.aspects import Aspect
    from windtunnel.stats.reference_profile import ColumnProfile, FrameProfile

Kind = Literal["number", "category", "text", "correlation", "embedding"]
CORRELATION = "correlation"
"""Name of the entry that stands for how the columns go together."""


@dataclass(frozen=True)
class DriftRule:
    """When a change counts.

    alpha: chance of any false alarm in a window in which nothing changed. min_rows: windows with fewer are
    not judged. min_effect: share of rows that would have to move to undo the change; rates (missing, one
    level) count from two fifths of it on, rows that the reference rules out (out of range, new categories,
    tails) from a fifth.
    """

    alpha: float = 0.01
    min_rows: int = 100
    min_effect: float = 0.05


@dataclass(frozen=True)
class ColumnDrift:
    """What a window's column shows beside the reference.

    psi (nats) and jensen_shannon (bits, 0 to 1) are less what chance would show; ks is the largest gap of the
    cumulative shares, wasserstein is in the reference's standard deviations. None where a statistic makes no
    sense for the kind. Of texts, psi and jensen_shannon are of 3-grams, ks and wasserstein of lengths.
    missing, reference_missing, out_of_range: shares of rows. new_categories and gone_categories: at most ten,
    with their share (now, and before). p_value is of the column, adjusted_p_value of all columns together.
    effect: share of rows that would have to move, 0 to 1. histogram: for a picture; of texts, of lengths.
    Of too few rows, drifted is False and `reasons` says so.
    """

    column: str
    kind: Kind
    rows: int
    psi: float | None = None
    jensen_shannon: float | None = None
    ks: float | None = None
    wasserstein: float | None = None
    missing: float = 0.0
    reference_missing: float = 0.0
    out_of_range: float = 0.0
    new_categories: list[tuple[str, float]] = field(default_factory=list)
    gone_categories: list[tuple[str, float]] = field(default_factory=list)
    p_value: float = 1.0
    adjusted_p_value: float = 1.0
    effect: float = 0.0
    drifted: bool = False
    reasons: list[str] = field(default_factory=list)
    histogram: Histogram | None = None

    def to_json(self) -> dict[str, Any]:
        found = {name: _plain(value) for name, value in asdict(self).items()}
        return found | {"histogram": None if self.histogram is None else self.histogram.to_json()}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> ColumnDrift:
        pairs = {
            name: [(str(value), float(share)) for value, share in found[name]]
            for name in ("new_categories", "gone_categories")
        }
        histogram = None if found["histogram"] is None else Histogram.from_json(found["histogram"])
        return cls(**{**found, **pairs, "reasons": list(found["reasons"]), "histogram": histogram})


@dataclass(frozen=True)
class _Asked:
    """Statistics of a column, before it is known what the other columns show."""

    drift: ColumnDrift
    aspects: list[Aspect]
    questions: int

    def p_value(self, rule: DriftRule) -> float:
        """Of the aspects that are large enough to matter, for all that were asked (Bonferroni)."""
        large = [aspect.p_value for aspect in self.aspects if aspect.effect >= aspect.floor * rule.min_effect]
        return min(1.0, min(large, default=1.0) * self.questions)


def compare(
    reference: FrameProfile,
    current: pl.DataFrame,
    rule: DriftRule | None = None,
    blocks: pl.Series | None = None,
    seasons: pl.Series | None = None,
) -> list[ColumnDrift]:
    """Drift of every column of the reference, in its order, and of how they go together (CORRELATION) last.

    blocks and seasons as in `profile_frame`, of the window's rows: without blocks the window counts as one
    block. A column that the window lacks counts as missing in all rows. Columns that the reference lacks are
    left alone.
    """
    rule = rule or DriftRule()
    window = Window.of(current.height, blocks, seasons if reference.seasons else None)
    asked = [_ask(name, profile, current, window, rule) for name, profile in reference.columns.items()]
    if len(reference.dependence.names) > 1:
        asked.append(_ask_dependence(reference, current, blocks, seasons, window, rule))
    return _judged(asked, rule)


def _judged(asked: Sequence[_Asked], rule: DriftRule) -> list[ColumnDrift]:
    p_values = [column.p_value(rule) for column in asked]
    adjusted = benjamini_hochberg(p_values)
    return [
        _verdict(column, p, adjusted_p, rule)
        for column, p, adjusted_p in zip(asked, p_values, adjusted, strict=True)
    ]


def _verdict(asked: _Asked, p_value: float, adjusted: float, rule: DriftRule) -> ColumnDrift:
    drift = asked.drift
    factor = asked.questions * (adjusted / p_value if p_value > 0.0 else 1.0)
    shown = [
        aspect
        for aspect in asked.aspects
        if aspect.effect >= aspect.floor * rule.min_effect and aspect.p_value * factor <= rule.alpha
    ]
    drifted = adjusted <= rule.alpha and bool(shown)
    return replace(
        drift,
        p_value=p_value,
        adjusted_p_value=adjusted,
        effect=max((aspect.effect for aspect in asked.aspects), default=0.0),
        drifted=drifted,
        reasons=[aspect.text for aspect in _most_telling(shown)] if drifted else drift.reasons,
    )


def _most_telling(shown: list[Aspect]) -> list[Aspect]:
    """What names the change; that the whole distribution differs is told where nothing more is known."""
    named = [aspect for aspect in shown if aspect.name not in {"distribution", "length_distribution"}]
    return sorted(named or shown, key=lambda aspect: (aspect.p_value, -aspect.effect))


def _ask(name: str, profile: ColumnProfile, current: pl.DataFrame, window: Window, rule: DriftRule) -> _Asked:
    column = current[name] if name in current.columns else pl.Series(name, [None] * current.height, pl.Null)
    if isinstance(profile, NumberProfile):
        drift, aspects = _number(name, NumberWindow.of(profile, column, window), window)
    elif isinstance(profile, CategoryProfile):
        drift, aspects = _category(name, CategoryWindow.of(profile, column, window), window)
    else:
        drift, aspects = _text(name, TextWindow.of(profile, column, window), window)
    if name not in current.columns:
        drift.reasons.append("the window has no such column")
    if current.height < rule.min_rows:
        drift.reasons.append(f"too few rows to tell: {current.height:,} of {rule.min_rows:,}")
        return _Asked(drift, [], 0)
    if drift.rows < rule.min_rows:
        # Too few values for their distribution; that they are missing can be told.
        aspects = [aspect for aspect in aspects if aspect.name == "missing"]
    return _Asked(drift, aspects, len(aspects))


def _number(name: str, found: NumberWindow, window: Window) -> tuple[ColumnDrift, list[Aspect]]:
    reference, current, noise = found.expected.shares, found.current, found.noise.rows
    measured = found.present > 0 and found.profile.shares.present > 0
    return ColumnDrift(
        column=name,
        kind="number",
        rows=found.present,
        psi=population_stability_index(reference, current, noise) if measured else None,
        jensen_shannon=jensen_shannon(reference, current, noise) if measured else None,
        ks=kolmogorov_smirnov(reference, current) if measured else None,
        wasserstein=found.wasserstein() if measured else None,
        missing=found.counted.missing / max(1, window.rows),
        reference_missing=found.expected.missing,
        out_of_range=found.out_of_range,
        histogram=of_numbers(found) if measured else None,
    ), list(found.aspects(window))


def _category(name: str, found: CategoryWindow, window: Window) -> tuple[ColumnDrift, list[Aspect]]:
    reference, current = found.with_unseen()
    noise = found.noise.rows
    measured = found.present > 0 and found.profile.shares.present > 0
    return ColumnDrift(
        column=name,
        kind="category",
        rows=found.present,
        psi=population_stability_index(reference, current, noise) if measured else None,
        jensen_shannon=jensen_shannon(reference, current, noise) if measured else None,
        missing=found.absent / max(1, window.rows),
        reference_missing=found.expected.missing,
        new_categories=found.new_categories(),
        gone_categories=found.gone_categories() if measured else [],
        histogram=of_categories(found) if measured else None,
    ), list(found.aspects(window))


def _text(name: str, found: TextWindow, window: Window) -> tuple[ColumnDrift, list[Aspect]]:
    lengths, _ = _number(name, found.length, window)
    measured = found.rows > 0 and found.profile.rows > 0
    shares, noise = found.profile.shares, found.gram_noise
    drift = replace(
        lengths,
        kind="text",
        psi=population_stability_index(shares, found.current, noise) if measured else None,
        jensen_shannon=jensen_shannon(shares, found.current, noise) if measured else None,
        out_of_range=0.0,
    )
    return drift, list(found.aspects(window))


def _ask_dependence(
    reference: FrameProfile,
    current: pl.DataFrame,
    blocks: pl.Series | None,
    seasons: pl.Series | None,
    window: Window,
    rule: DriftRule,
) -> _Asked:
    index = sample_of(current)
    drift = ColumnDrift(CORRELATION, "correlation", rows=len(index))
    if current.height < rule.min_rows:
        return _Asked(drift, [], 0)
    block, season = (None if series is None else series.gather(index) for series in (blocks, seasons))
    aspects, pairs = reference.dependence.aspects(current[index], reference.columns, block, season, window)
    return _Asked(drift, aspects, pairs)


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value

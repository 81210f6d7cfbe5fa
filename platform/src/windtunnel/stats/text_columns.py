"""Text columns (long or mostly distinct strings): their profile, and what has changed about them in a window.

Three views: lengths of all rows; on a sample of rows, the share of words outside a vocabulary; and the
distribution of character 3-grams, which tells languages, formats and encodings apart. Words and 3-grams of
one row are not independent, so a row, not a word, is what is counted as one observation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from windtunnel.stats.aspects import Aspect
from windtunnel.stats.category_columns import as_texts, mean_length
from windtunnel.stats.distances import total_variation
from windtunnel.stats.number_columns import NumberProfile, NumberWindow
from windtunnel.stats.significance import p_difference, p_distance

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from windtunnel.stats.cells import Rows, Window

SAMPLE = 4_000
"""Rows whose words and 3-grams are looked at."""
_CHARACTERS = 300
"""Of each text, so that one long document does not stand for many."""
_GRAMS = 300
_WORDS = 1_000
_LONG = 40.0
_LEAST_DISTINCT = 100
_LEAST_ROWS, _LEAST_BLOCKS = 20, 4


def is_text(column: pl.Series) -> bool:
    """Whether a string column is text rather than a category: long values, or most of them distinct."""
    present = len(column) - column.null_count()
    distinct = column.n_unique()
    mostly_distinct = distinct > max(_LEAST_DISTINCT, present // 2)
    return mostly_distinct or (distinct > _LEAST_DISTINCT and mean_length(column) > _LONG)


@dataclass(frozen=True)
class TextProfile:
    """grams: the 300 most frequent 3-grams, shares [301] with all others last; spread: [301] variance of a
    row's contribution to them, trace and squares: of its standardised covariance; between: trace that blocks
    add. words: vocabulary; outside: share of words outside it, with its variance by row and between blocks.
    """

    length: NumberProfile
    rows: int
    grams: list[str]
    shares: NDArray[np.float64]
    spread: NDArray[np.float64]
    trace: float
    squares: float
    words: list[str]
    outside: float
    outside_variance: float
    blocks: int
    between: float
    outside_between: float
    kind = "text"

    @classmethod
    def of(cls, column: pl.Series, rows: Rows) -> TextProfile:
        texts = as_texts(column)
        length = NumberProfile.of(texts.str.len_chars(), rows)
        index = _sample(texts)
        sample = texts.gather(index).str.head(_CHARACTERS).str.to_lowercase()
        keys, row = _three_grams(sample)
        distinct, counts = np.unique(keys, return_counts=True)
        chosen = np.sort(distinct[np.argsort(-counts, kind="stable")[:_GRAMS]])
        table = _tabulate(keys, row, chosen, len(sample))
        shares, residual = _residuals(table)
        # Half of the sample makes the vocabulary, the other half tells how many words lie outside of it.
        words = _words(sample[::2])["word"].value_counts(name="rows", sort=True)["word"].head(_WORDS)
        vocabulary = sorted(words.to_list())
        outside, of_row = _outside(sample[1::2], vocabulary)
        spread = np.square(residual).mean(axis=0) if len(residual) else np.zeros_like(shares)
        variance = float(np.square(of_row).mean()) if len(of_row) else 0.0
        block = None if rows.block is None else rows.block[index]
        blocks, between = _between(residual, spread, block)
        _, outside_between = _between(
            of_row[:, None], np.array([variance]), None if block is None else block[1::2]
        )
        inverse = np.where(shares > 0.0, 1.0 / np.maximum(shares, 1e-12), 0.0)
        trace, squares = _moments(residual * np.sqrt(inverse))
        return cls(
            length=length,
            rows=len(sample),
            grams=[_gram(key) for key in chosen],
            shares=shares,
            spread=spread,
            trace=trace,
            squares=squares,
            words=vocabulary,
            outside=outside,
            outside_variance=variance,
            blocks=blocks,
            between=float(between @ inverse),
            outside_between=float(outside_between[0]),
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "length": self.length.to_json(),
            "rows": self.rows,
            "grams": self.grams,
            "shares": _short(self.shares),
            "spread": _short(self.spread),
            "trace": self.trace,
            "squares": self.squares,
            "words": self.words,
            "outside": self.outside,
            "outside_variance": self.outside_variance,
            "blocks": self.blocks,
            "between": self.between,
            "outside_between": self.outside_between,
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> TextProfile:
        values: dict[str, Any] = dict(found)
        del values["kind"]
        values["length"] = NumberProfile.from_json(found["length"])
        for name in ("shares", "spread"):
            values[name] = np.asarray(found[name], dtype=np.float64)
        return cls(**values)


@dataclass(frozen=True)
class TextWindow:
    """A window's column beside its profile."""

    profile: TextProfile
    length: NumberWindow
    rows: int
    current: NDArray[np.float64]
    outside: float
    noise: float
    blocks: float

    @classmethod
    def of(cls, profile: TextProfile, column: pl.Series, window: Window) -> TextWindow:
        texts = as_texts(column)
        length = NumberWindow.of(profile.length, texts.str.len_chars(), window)
        sample = texts.gather(_sample(texts)).str.head(_CHARACTERS).str.to_lowercase()
        keys, row = _three_grams(sample)
        table = _tabulate(keys, row, np.array([_key(gram) for gram in profile.grams], np.int64), len(sample))
        current, _ = _residuals(table)
        outside, _ = _outside(sample, profile.words)
        noise = 1.0 / max(1, len(sample)) + 1.0 / max(1, profile.rows)
        blocks = 0.0 if not profile.blocks else 1.0 / window.blocks + 1.0 / profile.blocks
        return cls(profile, length, len(sample), current, outside, noise, blocks)

    @property
    def gram_noise(self) -> float:
        """1/n + 1/N as if 3-grams were independent: what distances of their shares show by chance."""
        return self.profile.trace * self.noise / max(1, len(self.current) - 1)

    def aspects(self, window: Window) -> Iterator[Aspect]:
        """Everything asked of this column: whether it is missing, its lengths, its words, its 3-grams."""
        for aspect in self.length.aspects(window):
            if aspect.name == "missing":
                yield aspect
            elif aspect.name != "granularity":
                text = aspect.text.replace("its values", "its lengths").replace("the values", "the lengths")
                yield Aspect(f"length_{aspect.name}", aspect.p_value, aspect.effect, aspect.floor, text)
        if self.rows and self.profile.rows:
            yield self._words()
            yield self._grams()

    def _words(self) -> Aspect:
        profile = self.profile
        difference = self.outside - profile.outside
        within = max(profile.outside_variance, 1.0 / (4.0 * profile.rows))
        variance = within * (1.0 / self.rows + 2.0 / profile.rows) + profile.outside_between * self.blocks
        text = (
            f"{self.outside:.1%} of its words are outside the known vocabulary ({profile.outside:.1%} before)"
        )
        doubt = profile.blocks - 1.0 if profile.outside_between > 0.0 else math.inf
        return Aspect("words", p_difference(difference, variance, doubt), abs(difference), 1.0, text)

    def _grams(self) -> Aspect:
        profile = self.profile
        seen = profile.shares > 0.0
        gap = self.current - profile.shares
        # A 3-gram never seen has no variance of its own: it counts as one seen in half a row.
        weight = np.where(seen, profile.shares, 0.5 / profile.rows)
        squared = float(np.sum(np.square(gap) / weight))
        mean = profile.trace * self.noise + profile.between * self.blocks
        variance = 2.0 * (profile.squares * self.noise**2 + (profile.between * self.blocks) ** 2)
        doubt = profile.blocks - 1.0 if profile.between > 0.0 else math.inf
        effect = total_variation(profile.shares, self.current, profile.spread * self.noise)
        most = np.argsort(-gap, kind="stable")[:3]
        names = [
            repr(profile.grams[index]) for index in most if index < len(profile.grams) and gap[index] > 0
        ]
        told = f", more often {', '.join(names)}" if names else ""
        text = f"its characters follow each other differently: {effect:.0%} of the 3-grams changed{told}"
        return Aspect("grams", p_distance(squared, mean, variance, doubt), effect, 1.0, text)


def _sample(texts: pl.Series) -> NDArray[np.int64]:
    """Rows with a value, evenly spread, at most SAMPLE."""
    index = np.flatnonzero(texts.is_not_null().to_numpy())
    step = max(1, math.ceil(len(index) / SAMPLE))
    return index[::step]


def _three_grams(sample: pl.Series) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Key of each 3-gram [T] and the row it is from [T]; a text begins and ends with a space."""
    joined = "\0".join(f" {text} " for text in sample.str.replace_all("\0", " ", literal=True))
    codes = np.frombuffer(joined.encode("utf-32-le", "replace"), dtype=np.uint32).astype(np.int64)
    if len(codes) < 3:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    row = np.cumsum(codes == 0)
    first, second, third = codes[:-2], codes[1:-1], codes[2:]
    inside = (first > 0) & (second > 0) & (third > 0)
    return ((first << 42) | (second << 21) | third)[inside], row[:-2][inside]


def _gram(key: np.int64) -> str:
    mask = (1 << 21) - 1
    return "".join(chr((int(key) >> shift) & mask) for shift in (42, 21, 0))


def _key(gram: str) -> int:
    first, second, third = (ord(character) for character in gram)
    return (first << 42) | (second << 21) | third


def _tabulate(
    keys: NDArray[np.int64], row: NDArray[np.int64], chosen: NDArray[np.int64], rows: int
) -> NDArray[np.float64]:
    """How often each row has each chosen (sorted) 3-gram, all others last: [rows, G + 1]."""
    place = np.searchsorted(chosen, keys)
    known = (
        (place < len(chosen)) & (chosen[np.minimum(place, len(chosen) - 1)] == keys) if len(chosen) else None
    )
    cell = np.full(len(keys), len(chosen)) if known is None else np.where(known, place, len(chosen))
    flat = np.bincount(row * (len(chosen) + 1) + cell, minlength=rows * (len(chosen) + 1))
    return flat.reshape(rows, len(chosen) + 1).astype(np.float64)


def _residuals(table: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Shares [B] of all that was counted, and each row's contribution to their error [rows, B]."""
    of_row = table.sum(axis=1)
    total = of_row.sum()
    if total == 0.0:
        return np.zeros(table.shape[1]), np.zeros_like(table)
    shares = table.sum(axis=0) / total
    return shares, (table - of_row[:, None] * shares) * (len(table) / total)


def _moments(residual: NDArray[np.float64]) -> tuple[float, float]:
    """Trace of the rows' covariance, and of its square net of what few rows add to it."""
    rows = len(residual)
    if rows < 2:
        return 0.0, 0.0
    covariance = residual.T @ residual / rows
    trace, squares = float(np.trace(covariance)), float(np.square(covariance).sum())
    fourth = float(np.square(np.square(residual).sum(axis=1)).mean())
    least = trace * trace / residual.shape[1]
    return trace, max(squares - fourth / rows, least)


def _between(
    residual: NDArray[np.float64], spread: NDArray[np.float64], block: NDArray[np.int64] | None
) -> tuple[int, NDArray[np.float64]]:
    """Number of blocks with enough rows (0 if too few), and the variance [B] between their means, net of what
    rows of that `spread` [B] add.
    """
    nothing = np.zeros(len(spread))
    if block is None or len(block) == 0:
        return 0, nothing
    rows = np.bincount(block)
    sums = np.zeros((len(rows), len(spread)))
    np.add.at(sums, block, residual)
    chosen = rows >= _LEAST_ROWS
    blocks = int(chosen.sum())
    if blocks < _LEAST_BLOCKS:
        return 0, nothing
    means = sums[chosen] / rows[chosen, None]
    between = np.square(means).sum(axis=0) / (blocks - 1) - spread * float((1.0 / rows[chosen]).mean())
    return blocks, np.maximum(between, 0.0)


def _words(sample: pl.Series) -> pl.DataFrame:
    """Columns row and word."""
    lists = pl.DataFrame({"word": sample.str.extract_all(r"\w+")}).with_row_index("row")
    return lists.explode("word").drop_nulls()


def _outside(sample: pl.Series, vocabulary: list[str]) -> tuple[float, NDArray[np.float64]]:
    """Share of the words outside the vocabulary, and each row's contribution to its error [rows]."""
    found = _words(sample).with_columns(
        ~pl.col("word").is_in(pl.Series(vocabulary, dtype=pl.String).implode())
    )
    row = found["row"].to_numpy().astype(np.int64)
    words = np.bincount(row, minlength=len(sample)).astype(np.float64)
    outside = np.bincount(row, found["word"].to_numpy().astype(np.float64), minlength=len(sample))
    if words.sum() == 0.0:
        return 0.0, np.zeros(len(sample))
    share = float(outside.sum() / words.sum())
    return share, (outside - words * share) * (len(sample) / words.sum())


def _short(values: NDArray[np.float64]) -> list[float]:
    return [float(f"{value:.4g}") for value in values]

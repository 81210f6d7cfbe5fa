"""Synthetic rows of a service: numbers of many shapes, categories, a text, a label and its prediction."""

from __future__ import annotations

import numpy as np
import polars as pl

AIRPORTS = np.array([f"AP{index:03d}" for index in range(400)])
_AIRPORT_ODDS = 1.0 / (np.arange(400) + 8.0)
_AIRPORT_ODDS /= _AIRPORT_ODDS.sum()
CARRIERS = np.array(["AA", "B6", "DL", "UA", "WN", "AS", "NK", "F9", "G4", "HA"])
CARRIER_ODDS = np.array([0.22, 0.18, 0.16, 0.13, 0.1, 0.08, 0.05, 0.04, 0.03, 0.01])
_SENTENCES = """the late fee was paid by card please send it again my order never came refund today broken box
wrong size thanks for quick help account locked out change address invoice missing item colour return"""
WORDS = np.array(_SENTENCES.split())
_WORD_ODDS = 1.0 / (np.arange(len(WORDS)) + 3.0)
_WORD_ODDS /= _WORD_ODDS.sum()


def rows(random: np.random.Generator, count: int, text: bool = False) -> pl.DataFrame:
    """Independent rows; `text` adds the column that is dear to make."""
    age = random.normal(40.0, 12.0, count)
    speed = 0.6 * (age - 40.0) / 12.0 + 0.8 * random.normal(size=count)
    logit = 0.8 * speed - 1.2
    prediction = 1.0 / (1.0 + np.exp(-logit - 0.3 * random.normal(size=count)))
    balance = random.standard_t(5, count) * 100.0
    partly = random.normal(size=count)
    partly[random.random(count) < 0.05] = np.nan
    frame = pl.DataFrame(
        {
            "age": age,
            "speed": speed,
            "amount": random.lognormal(3.0, 1.0, count),
            "balance": balance,
            "distance": np.where(
                random.random(count) < 0.5, random.normal(300, 60, count), random.normal(900, 150, count)
            ),
            "price": np.round(random.gamma(3.0, 8.0, count), 2),
            "rate": random.beta(2.0, 5.0, count),
            "orders": random.poisson(3.0, count).astype(np.float64),
            "hour": np.floor(np.clip(random.normal(13.0, 4.0, count), 0, 23.9)),
            "partly": partly,
            "member": random.random(count) < 0.3,
            "carrier": random.choice(CARRIERS, count, p=CARRIER_ODDS),
            "airport": random.choice(AIRPORTS, count, p=_AIRPORT_ODDS),
            "prediction": prediction,
            "label": (random.random(count) < 1.0 / (1.0 + np.exp(-logit))).astype(np.float64),
        }
    )
    return frame.with_columns(pl.Series("note", notes(random, count))) if text else frame


def notes(
    random: np.random.Generator, count: int, words: np.ndarray = WORDS, longer: float = 1.0
) -> list[str]:
    """Messages of about twelve words."""
    lengths = np.maximum(1, random.poisson(12.0 * longer, count))
    odds = _WORD_ODDS[: len(words)] / _WORD_ODDS[: len(words)].sum()
    chosen = random.choice(words, int(lengths.sum()), p=odds)
    ends = np.cumsum(lengths)
    return [" ".join(chosen[end - length : end]) for end, length in zip(ends, lengths, strict=True)]


def blocks(count: int, number: int) -> pl.Series:
    """Day of each row: `number` days with as many rows each."""
    return pl.Series("day", np.arange(count) * number // count)

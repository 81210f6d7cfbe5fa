"""Ids of predictions: UUIDs of version 7, which sort by the time they were made."""

from __future__ import annotations

import time
from random import getrandbits


def prediction_id() -> str:
    """A UUIDv7: 48 bits of milliseconds, then random bits (unique, not secret)."""
    number = (time.time_ns() // 1_000_000 << 80) | getrandbits(76)
    number = number & ~(0xF << 76) | 7 << 76
    number = number & ~(3 << 62) | 2 << 62
    text = f"{number:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"

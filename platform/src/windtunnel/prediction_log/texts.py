"""Entities as the log holds them: callers may send texts of any length."""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

LONGEST: Final = 1024
"""Characters of an entity that are logged whole."""
_KEPT: Final = 960


def brief(text: str) -> str:
    """The text itself, or of a very long one its beginning and a digest that tells it from others."""
    if len(text) <= LONGEST:
        return text
    digest = blake2b(text.encode(), digest_size=8).hexdigest()
    return f"{text[:_KEPT]}…{digest}"

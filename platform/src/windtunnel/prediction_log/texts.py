"""Keys and entities as the log holds them: short, and in UTF-8. Callers may send anything."""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

LONGEST: Final = 1024
"""Characters of a key or an entity that are logged whole."""
_KEPT: Final = 960


def brief(text: str) -> str:
    """The text itself, or of a very long one its beginning and a digest that tells it from others."""
    if len(text) <= LONGEST:
        return text
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
    return f"{text[:_KEPT]}…{digest}"


def readable(text: str) -> str:
    """Half of a surrogate pair, which no UTF-8 can hold, is written as it was escaped: `\\ud800`."""
    return text.encode("utf-8", "backslashreplace").decode()

"""What went wrong, in words for the person at the terminal."""

from __future__ import annotations


class ImageError(Exception):
    """An image can't be built, pushed or locked; the message says why and how to mend it."""

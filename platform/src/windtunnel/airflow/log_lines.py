"""The lines of a stage's log, with the level at which they belong into the task log."""

from __future__ import annotations

import logging
import re

# The clock and level of the stage, or of a library such as MLflow; the task log has a clock of its own.
_PREFIX = re.compile(
    r"^(?:\d{4}[-/]\d{2}[-/]\d{2} )?(?:\d{2}:\d{2}:\d{2}(?:[.,]\d+)? )?"
    r"(?:\[?(?P<level>DEBUG|INFO|WARNING|ERROR|CRITICAL)\]?[: ]\s*)?"
)
_TRACEBACK = "Traceback (most recent call last):"
# `ValueError: no such column`, `windtunnel.errors.DataError: …`
_EXCEPTION = re.compile(r"^[\w.]*(?:Error|Exception)(?:: |$)")


class LineLevels:
    """Levels line by line; lines of a traceback are errors although they do not say so."""

    def __init__(self) -> None:
        self._in_traceback = False

    def __call__(self, line: str) -> tuple[int, str]:
        """(level, text without the prefix)."""
        match = _PREFIX.match(line)
        text = line[match.end() :] if match else line
        named = match["level"] if match else None
        if named:
            self._in_traceback = False
            return logging.getLevelNamesMapping()[named], text
        if text.startswith(_TRACEBACK):
            self._in_traceback = True
        elif self._in_traceback and text and not text.startswith(" "):
            # Its last line; what follows is no part of it.
            self._in_traceback = False
            return logging.ERROR, text
        return (logging.ERROR if self._in_traceback or _EXCEPTION.match(text) else logging.INFO), text

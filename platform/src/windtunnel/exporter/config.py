"""What the chart tells the exporter, by its environment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from windtunnel.errors import PermanentError

if TYPE_CHECKING:
    from collections.abc import Mapping

REFRESH: Final = "WINDTUNNEL_EXPORTER_REFRESH_SECONDS"
LONGEST_REFRESH: Final = 300
"""Seconds; a third of what an exporter may be idle before it is taken for stuck."""


@dataclass(frozen=True)
class ExporterConfig:
    """One exporter serves one release."""

    namespace: str
    """Of the ServedModels; empty: none are read."""
    refresh_seconds: float = 30.0
    """Between the beginnings of two looks at what is new."""

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> ExporterConfig:
        """Raises PermanentError for seconds that are none."""
        text = environ.get(REFRESH, "30")
        try:
            seconds = float(text)
        except ValueError:
            seconds = 0.0
        if not 1 <= seconds <= LONGEST_REFRESH:
            raise PermanentError(
                f"{text!r} is no number of seconds from 1 to {LONGEST_REFRESH}",
                where=REFRESH,
                fix="set exporter.refreshSeconds in the chart's values",
            )
        return cls(namespace=environ.get("POD_NAMESPACE", ""), refresh_seconds=seconds)

"""What the chart tells the exporter, by its environment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from windtunnel.errors import PermanentError

if TYPE_CHECKING:
    from collections.abc import Mapping

REFRESH: Final = "WINDTUNNEL_EXPORTER_REFRESH_SECONDS"


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
        if not 1 <= seconds <= 3600:
            raise PermanentError(f"{text!r} is no number of seconds from 1 to 3600", where=REFRESH)
        return cls(namespace=environ.get("POD_NAMESPACE", ""), refresh_seconds=seconds)

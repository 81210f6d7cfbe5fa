"""What all metrics have in common that are counted for each version in each role."""

from __future__ import annotations

from typing import Generic, TypeVar

from prometheus_client.registry import Collector

_Series = TypeVar("_Series")


class VersionCollector(Collector, Generic[_Series]):
    """Series by (model, version, role); whoever derives from it makes and collects them."""

    def __init__(self) -> None:
        self._series: dict[tuple[str, str, str], _Series] = {}

    def counted(self) -> set[tuple[str, str]]:
        """(model, version) of all that has series of its own."""
        return {(model, version) for model, version, _ in self._series}

    def forget(self, model: str, version: str) -> None:
        """Drop the version's series; should it come again it begins at zero."""
        for name in [name for name in self._series if name[:2] == (model, version)]:
            del self._series[name]

"""A DAG bundle with versions, as a Git repository is one, of folders: `root`/VERSION."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from airflow.dag_processing.bundles.base import BaseDagBundle


class VersionedBundle(BaseDagBundle):  # type: ignore[misc]
    supports_versioning = True

    def __init__(self, *, root: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._root = Path(root)

    @property
    def path(self) -> Path:
        return self._root / (self.version or self.get_current_version())

    def get_current_version(self) -> str:
        return max(folder.name for folder in self._root.iterdir())

    def refresh(self) -> None:
        """Nothing to fetch."""

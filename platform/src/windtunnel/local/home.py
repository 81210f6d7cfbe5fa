"""The home: one directory in the place of the platform's stores, and the environment that names it."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import windtunnel
from windtunnel.errors import PermanentError
from windtunnel.objects import ObjectStore, open_store
from windtunnel.rollout.served_models import DirectoryServedModels
from windtunnel.spec.servedmodel import object_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from windtunnel.spec.servedmodel import ServedModel

DEFAULT_HOME = Path(".windtunnel")


@dataclass(frozen=True)
class Home:
    """All paths are absolute."""

    directory: Path

    @classmethod
    def at(cls, directory: Path) -> Home:
        return cls(directory.expanduser().resolve())

    @classmethod
    def chosen(cls, directory: Path | None, environ: Mapping[str, str]) -> Home:
        """The one that is named, else that of WINDTUNNEL_HOME, else the one in the present directory."""
        return cls.at(directory or Path(environ.get("WINDTUNNEL_HOME") or DEFAULT_HOME))

    @property
    def store(self) -> Path:
        return self.directory / "store"

    @property
    def served_models(self) -> Path:
        return self.directory / "served"

    @property
    def tracking_uri(self) -> str:
        return f"sqlite:///{self.directory / 'mlflow.db'}"

    @property
    def online_store(self) -> str:
        return f"sqlite:///{self.directory / 'online.db'}"

    def logs(self, run_id: str) -> Path:
        return self.directory / "logs" / run_id

    def open_store(self) -> ObjectStore:
        return open_store(str(self.store), {})

    def served_model(self, lifecycle: str) -> ServedModel | None:
        """What serves, as the rollout stage wrote it."""
        return DirectoryServedModels(self.served_models).get(object_name(lifecycle))

    def prepare(self) -> None:
        """Make its directories. Raises PermanentError."""
        for directory in (self.store, self.served_models):
            try:
                directory.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise PermanentError(
                    f"the home cannot be made: {error.strerror}",
                    where=str(directory),
                    fix="name a directory that you may write to, by --home or WINDTUNNEL_HOME",
                ) from error

    def environment(self, lifecycles: Path, environ: Mapping[str, str]) -> dict[str, str]:
        """The environment of a child process. Children run in the home, where MLflow puts artifacts."""
        package = str(Path(windtunnel.__file__).resolve().parents[1])
        inherited = [os.path.abspath(p) for p in environ.get("PYTHONPATH", "").split(os.pathsep) if p]  # noqa: PTH100
        return {
            **environ,
            "WINDTUNNEL_STORE": str(self.store),
            "WINDTUNNEL_LIFECYCLES": str(lifecycles.resolve()),
            "WINDTUNNEL_ONLINE_STORE": self.online_store,
            "WINDTUNNEL_SERVED_MODELS": str(self.served_models),
            "MLFLOW_TRACKING_URI": self.tracking_uri,
            "PYTHONPATH": os.pathsep.join([package, *(path for path in inherited if path != package)]),
            "PYTHONUNBUFFERED": "1",
            # A laptop's run asks nobody and tells nobody.
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "FEAST_USAGE": "False",
        }


def python() -> str:
    """The interpreter of child processes: the one that runs this."""
    return sys.executable

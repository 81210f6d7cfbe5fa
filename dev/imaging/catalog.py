"""Which images there are, what each stands on, and which files each is made of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dev.imaging.errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Iterable

ROOT = Path(__file__).resolve().parents[2]
UPSTREAM_BASE = "python:3.13-slim-trixie"

_CODE = "platform/src"
_DAGS = "dags"
_PACKAGE = "platform/src/windtunnel"


@dataclass(frozen=True)
class Lock:
    """A lock file, compiled from pyproject's extras and from a requirements.in beside it, if there is one."""

    path: str
    extras: tuple[str, ...] = ()
    additions: str = ""


@dataclass(frozen=True)
class Image:
    """One image.

    sources: files and directories (from the repository's root) that its Containerfile copies, beside its own.
    without: parts of the sources that the image never imports; leaving them out spares it rebuilds (and its
    pods restarts) when only they change. Layers as in docs/architecture.md; import-linter keeps them.
    """

    name: str
    sources: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    locks: tuple[Lock, ...] = ()
    store: bool = False
    """An upstream's program, such as an embedded store: only for clusters that can't pull its image."""
    program: str = ""
    """The Go program that its Containerfile copies beside its own files: what `cluster.py build` calls it."""
    on: str = "base"
    """The image of ours that it stands on."""
    optional: bool = False
    """Only built when asked for by its name."""

    @property
    def containerfile(self) -> str:
        return f"images/{self.name}/Containerfile"

    def purpose(self) -> str:
        """What it is for: the first line of its Containerfile."""
        return (ROOT / self.containerfile).read_text().splitlines()[0].lstrip("# ")

    @property
    def repository(self) -> str:
        return f"windtunnel/{self.name}"

    @property
    def needs(self) -> dict[str, str]:
        """The images of ours that its build begins with, by the build argument that names them."""
        if self.name == "base":
            return {}
        return {"BASE_IMAGE": self.on} | ({"INSTALLER_IMAGE": "installer"} if self.locks else {})

    @property
    def runs(self) -> bool:
        """Whether pods run it; the others are only built upon."""
        return self.store or bool(self.locks)


def _without(*packages: str) -> tuple[str, ...]:
    return tuple(f"{_PACKAGE}/{package}" for package in packages)


_ALL = (
    Image("base"),
    Image("installer", ("dev/uv.txt",)),
    Image(
        "airflow",
        (_CODE, _DAGS),
        _without(
            "cli",
            "controller",
            "exporter",
            "features",
            "local",
            "registry",
            "report",
            "rollout",
            "serving",
            "stages",
            "stats",
        ),
        (Lock("images/airflow/requirements.lock", ("airflow",), "images/airflow/requirements.in"),),
    ),
    Image(
        "stage",
        (_CODE, _DAGS),
        _without("controller", "exporter", "serving"),
        (Lock("images/stage/worker.lock", ("worker",)), Lock("images/stage/stages.lock", ("stages",))),
    ),
    Image(
        "spark",
        locks=(Lock("images/spark/requirements.lock", ("spark",)),),
        on="stage",
        optional=True,
    ),
    Image(
        "serving",
        (_CODE,),
        _without("airflow", "cli", "controller", "exporter", "local", "report", "stages", "stats"),
        (Lock("images/serving/requirements.lock", ("serving", "serving-sklearn")),),
    ),
    Image(
        "controller",
        (_CODE,),
        _without("airflow", "cli", "exporter", "features", "local", "report", "serving", "stages"),
        (Lock("images/controller/requirements.lock", ("controller",)),),
    ),
    Image(
        "exporter",
        (_CODE,),
        _without("airflow", "cli", "controller", "local", "report", "serving", "stages", "stats"),
        (Lock("images/exporter/requirements.lock", ("exporter",)),),
    ),
    Image(
        "mlflow",
        locks=(Lock("images/mlflow/requirements.lock", (), "images/mlflow/requirements.in"),),
    ),
    Image("postgres", store=True),
    Image("valkey", store=True),
    Image("versitygw", store=True, program="versitygw"),
    Image("statsd-exporter", store=True, program="statsd_exporter"),
    Image("prometheus", store=True),
)

IMAGES = {image.name: image for image in _ALL}
# Heavy first: two are built at a time, and the longest should not be last.
ORDER = (
    "base",
    "installer",
    "stage",
    "spark",
    "airflow",
    "mlflow",
    "serving",
    "controller",
    "exporter",
    "postgres",
    "prometheus",
    "valkey",
    "versitygw",
    "statsd-exporter",
)
GROUPS = {
    "platform": tuple(
        name for name in ORDER if IMAGES[name].runs and not (IMAGES[name].store or IMAGES[name].optional)
    ),
    "stores": tuple(name for name in ORDER if IMAGES[name].store),
    "all": tuple(name for name in ORDER if IMAGES[name].runs and not IMAGES[name].optional),
}


def select(names: list[str]) -> list[Image]:
    """Images by their names or groups, in build order. Raises ImageError naming an unknown one."""
    wanted: set[str] = set()
    for name in names:
        if name not in IMAGES and name not in GROUPS:
            known = ", ".join([*ORDER, *GROUPS])
            raise ImageError(f"there is no image or group {name!r}; there are {known}")
        wanted.update(GROUPS.get(name, (name,)))
    return [IMAGES[name] for name in ORDER if name in wanted]


def beneath(images: Iterable[Image]) -> list[Image]:
    """The images of ours that the builds of these begin with, in build order."""
    found: set[str] = set()
    waiting = list(images)
    while waiting:
        needed = set(waiting.pop().needs.values()) - found
        found |= needed
        waiting += [IMAGES[name] for name in needed]
    return [IMAGES[name] for name in ORDER if name in found]

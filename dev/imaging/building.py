"""Builds and pushes what is missing: the base first, then two images at a time."""

from __future__ import annotations

import fcntl
import subprocess
import sys
import tempfile
import time
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dev.imaging import debian, registry
from dev.imaging.builder import find_builder
from dev.imaging.catalog import IMAGES, ROOT, UPSTREAM_BASE, Image, beneath
from dev.imaging.context import Context, File, context
from dev.imaging.errors import ImageError
from dev.imaging.secrets import write_secrets
from dev.imaging.terminal import capture, say

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from dev.imaging.builder import Builder

_AT_A_TIME = 2
DEBIAN = "debian"


@dataclass(frozen=True)
class Target:
    """Where images go and what they stand on.

    registry: host[:port][/path], or "" to leave them in the builder's storage.
    tag: "" tags each image with its key, so that a changed image changes the pods that run it.
    base: an image to stand on, or `debian` for one made here.
    """

    registry: str
    tag: str
    base: str
    push: bool
    name: str = ""
    """The whole reference of the only image, where registry and tag are not to make it."""

    @classmethod
    def of(cls, address: str, tag: str, base: str, push: bool, name: str = "") -> Target:
        """The target; without a base, what goes to a registry on this machine stands on one made here."""
        chosen = base or (DEBIAN if registry.is_loopback(address or name) else UPSTREAM_BASE)
        return cls(address.rstrip("/"), tag, chosen, push, name)

    @property
    def is_here(self) -> bool:
        return registry.is_loopback(self.name or self.registry)

    def tag_of(self, made: Context) -> str:
        return self.tag or made.key

    def repository(self, image: Image) -> str:
        return f"{self.registry}/{image.repository}" if self.registry else image.repository

    def reference(self, made: Context) -> str:
        """The name under which a cluster pulls the image."""
        return self.name or f"{self.repository(made.image)}:{self.tag_of(made)}"

    def holds(self, made: Context) -> bool:
        """Whether the registry surely has this very image; a given tag says nothing of what is behind it."""
        return (
            self.push
            and self.is_here
            and not (self.tag or self.name)
            and registry.has(self.registry, made.image.repository, made.key)
        )


class Contexts:
    """The contexts of the images on one base, each made once."""

    def __init__(self, base: str, environ: Mapping[str, str]) -> None:
        self._root = f"windtunnel/debian:{debian.recipe_key()}" if base == DEBIAN else base
        self._environ = environ
        self._made: dict[str, Context] = {}

    def of(self, image: Image) -> Context:
        """Raises ImageError if a program that belongs into the image can't be built."""
        if image.name not in self._made:
            needs = {argument: self.of(IMAGES[name]).reference for argument, name in image.needs.items()}
            extra = {f"images/{image.name}/{image.program}": self._program(image)} if image.program else None
            self._made[image.name] = context(image, needs or {"BASE_IMAGE": self._root}, extra)
        return self._made[image.name]

    def made(self) -> list[Context]:
        return list(self._made.values())

    def _program(self, image: Image) -> File:
        """The binary of an image's Go program, built from its module once and then cached."""
        tool = [sys.executable, str(ROOT / "dev/cluster/cluster.py")]
        name = image.program
        done = subprocess.run([*tool, "build", name], stdout=sys.stderr, check=False, env=self._environ)
        if done.returncode != 0:
            raise ImageError(f"{name} could not be built; the reason stands above")
        path = capture([*tool, "path", name], f"cluster.py path {name}", self._environ)
        return File(0o755, Path(path.strip()))


class Factory:
    """Builds and pushes what is missing of some images."""

    def __init__(self, target: Target, builder: str, cache: Path, environ: Mapping[str, str]) -> None:
        self._target = target
        self._builder_name = builder
        self._cache = cache
        self._environ = environ
        self._contexts = Contexts(target.base, environ)
        self._builder_found: Builder | None = None

    def make(self, images: Sequence[Image]) -> None:
        """Build and push what is missing, two at a time. Raises ImageError once nothing runs any more."""
        missing = [image for image in images if not self._is_there(image)]
        if not missing:
            return
        with self._alone():
            # Another process may have made them meanwhile: what is built is not built again.
            self._make(missing)

    def _make(self, missing: Sequence[Image]) -> None:
        # What others are built with comes first, one by one.
        for image in beneath(missing):
            self._build(self._contexts.of(image))
        with ThreadPoolExecutor(_AT_A_TIME) as pool:
            jobs = [pool.submit(self._build_and_push, self._contexts.of(image)) for image in missing]
            try:
                wait(jobs, return_when=FIRST_EXCEPTION)
            finally:  # after a failure or Ctrl-C: what runs may end, nothing more begins
                pool.shutdown(wait=False, cancel_futures=True)
        for job in jobs:
            if not job.cancelled():
                job.result()
        self._builder().tidy([made.reference for made in self._contexts.made()])

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the cache's lock, or two processes would build the same; it ends with the process."""
        path = self._cache / "images" / ".lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say("waiting: another process builds images")
                fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _is_there(self, image: Image) -> bool:
        made = self._contexts.of(image)
        there = self._target.holds(made)
        if there:
            say(f"{self._target.reference(made)}: is there")
        return there

    def _build_and_push(self, made: Context) -> None:
        self._build(made)
        if self._target.push:
            started = time.monotonic()
            name = self._target.reference(made)
            self._builder().push(made.reference, name, self._target.is_here, self._log(made.image))
            say(f"{name}: pushed in {time.monotonic() - started:.0f} s")

    def _build(self, made: Context) -> None:
        builder = self._builder()
        if builder.has(made.reference):
            say(f"{made.reference}: is built")
            return
        if self._target.base == DEBIAN and made.image.name == "base":
            self._import_debian(made.arguments["BASE_IMAGE"])
        started = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="windtunnel-image-") as scratch:
            directory = Path(scratch) / "context"
            directory.mkdir()
            made.write(directory)
            options = write_secrets(self._environ, Path(scratch))
            options += [f"--build-arg={name}={builder.local(of)}" for name, of in made.arguments.items()]
            log = self._log(made.image)
            log.unlink(missing_ok=True)
            builder.build(directory, made.image.containerfile, made.reference, options, log)
        say(f"{made.reference}: built in {time.monotonic() - started:.0f} s with {builder.name}")

    def _import_debian(self, reference: str) -> None:
        builder = self._builder()
        if not builder.has(reference):
            tar = debian.root_filesystem(self._cache)
            builder.import_root(tar, reference, self._cache / "log" / "debian.log")

    def _builder(self) -> Builder:
        """Found when first needed: where everything is pushed already, no builder is asked for."""
        if self._builder_found is None:
            self._builder_found = find_builder(self._builder_name, self._cache)
        return self._builder_found

    def _log(self, image: Image) -> Path:
        return self._cache / "log" / f"image-{image.name}.log"

"""The two programs that build images, behind one interface."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING, Protocol

from dev.imaging.errors import ImageError
from dev.imaging.terminal import capture, run

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_OURS = "windtunnel/"


class Builder(Protocol):
    """Builds, names and pushes images in a storage of its own."""

    name: str

    def local(self, reference: str) -> str:
        """How a Containerfile's FROM names an image, one of the storage or one to be pulled."""

    def has(self, reference: str) -> bool:
        """Whether the storage holds the image."""

    def build(
        self, directory: Path, containerfile: str, reference: str, options: Sequence[str], log: Path
    ) -> None:
        """Build a context. Raises ImageError with the end of the log."""

    def import_root(self, tar: Path, reference: str, log: Path) -> None:
        """Make an image of one layer from a root filesystem."""

    def tidy(self, kept: Sequence[str]) -> None:
        """Delete earlier images of the same names, with layers that nothing stands on any more."""

    def push(self, reference: str, target: str, plain: bool, log: Path) -> None:
        """Push under another name; `plain`: without TLS and uncompressed, for a registry on this machine."""


class Buildah:
    """buildah, with a storage in the cache directory, so that a fresh checkout finds its layers again."""

    name = "buildah"

    def __init__(self, cache: Path) -> None:
        self._home = home = cache / "containers"
        # Sockets and locks; gone after a reboot, as they should be.
        run_root = f"/run/windtunnel-containers-{os.getuid()}" if os.geteuid() == 0 else str(home / "run")
        driver = os.environ.get("STORAGE_DRIVER") or "overlay"
        self._program = ["buildah", "--root", str(home), "--runroot", run_root, "--storage-driver", driver]
        # Where buildah keeps RUN --mount=type=cache: with the rest of our caches.
        temporary = cache / "tmp"
        temporary.mkdir(parents=True, exist_ok=True)
        self._environment = {**os.environ, "TMPDIR": str(temporary)}

    def local(self, reference: str) -> str:
        return f"localhost/{reference}" if reference.startswith(_OURS) else reference

    def has(self, reference: str) -> bool:
        command = [
            *self._program,
            "inspect",
            "--type",
            "image",
            "--format",
            "{{.FromImageID}}",
            f"localhost/{reference}",
        ]
        done = subprocess.run(command, capture_output=True, check=False, env=self._environment)
        return done.returncode == 0

    def build(
        self, directory: Path, containerfile: str, reference: str, options: Sequence[str], log: Path
    ) -> None:
        command = [*self._program, "bud", "--isolation", "chroot", "--layers", "--format", "oci"]
        command += [
            *options,
            "--tag",
            f"localhost/{reference}",
            "--file",
            str(directory / containerfile),
            str(directory),
        ]
        run(command, f"{reference}: building", log, self._environment)

    def import_root(self, tar: Path, reference: str, log: Path) -> None:
        container = capture(
            [*self._program, "from", "scratch"], "buildah from scratch", self._environment
        ).strip()
        try:
            run(
                [*self._program, "add", container, str(tar), "/"],
                f"{reference}: unpacking",
                log,
                self._environment,
            )
            config = [
                *self._program,
                "config",
                "--env",
                "PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin",
            ]
            run([*config, container], f"{reference}: configuring", log, self._environment)
            commit = [*self._program, "commit", "--quiet", container, f"localhost/{reference}"]
            run(commit, f"{reference}: committing", log, self._environment)
        finally:
            capture([*self._program, "rm", container], "buildah rm", self._environment)

    def tidy(self, kept: Sequence[str]) -> None:
        # buildah 1.28 forgets the container behind each `RUN --mount=from=…`, mounted and holding its layers.
        self._quietly([*self._program, "rm", "--all"])
        names = {reference.rpartition(":")[0] for reference in kept}
        listing = [*self._program, "images", "--noheading", "--format", "{{.Name}}:{{.Tag}}"]
        present = capture(listing, "buildah images", self._environment).split()
        for name in present:
            reference = name.removeprefix("localhost/")
            if reference.rpartition(":")[0] in names and reference not in kept:
                self._remove(name)
        self._remove("--prune")
        # The storage mounts its directory onto itself, and leaves that.
        self._quietly(["umount", str(self._home / "overlay")])

    def _remove(self, what: str) -> None:
        """Untag an image, or drop what has no name."""
        self._quietly([*self._program, "rmi", what])

    def _quietly(self, command: Sequence[str]) -> None:
        """What is in use stays: tidying is no reason to fail."""
        subprocess.run(command, capture_output=True, check=False, env=self._environment)

    def push(self, reference: str, target: str, plain: bool, log: Path) -> None:
        options = ["--tls-verify=false", "--disable-compression"] if plain else []
        command = [*self._program, "push", *options, f"localhost/{reference}", f"docker://{target}"]
        run(command, f"{target}: pushing", log, self._environment)


class Docker:
    """docker with BuildKit."""

    name = "docker"

    def __init__(self) -> None:
        self._environment = {**os.environ, "DOCKER_BUILDKIT": "1"}

    def local(self, reference: str) -> str:
        return reference

    def has(self, reference: str) -> bool:
        command = ["docker", "image", "inspect", reference]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    def build(
        self, directory: Path, containerfile: str, reference: str, options: Sequence[str], log: Path
    ) -> None:
        command = ["docker", "build", "--progress=plain", *options, "--tag", reference]
        command += ["--file", str(directory / containerfile), str(directory)]
        run(command, f"{reference}: building", log, self._environment)

    def import_root(self, tar: Path, reference: str, log: Path) -> None:
        run(["docker", "import", str(tar), reference], f"{reference}: importing", log, self._environment)

    def tidy(self, kept: Sequence[str]) -> None:
        """Docker's storage is its owner's to clean (`docker image prune`): it is not ours alone."""

    def push(self, reference: str, target: str, plain: bool, log: Path) -> None:  # noqa: ARG002 (docker decides itself)
        run(["docker", "tag", reference, target], f"{target}: naming", log, self._environment)
        run(["docker", "push", "--quiet", target], f"{target}: pushing", log, self._environment)


def find_builder(name: str, cache: Path) -> Builder:
    """The builder of that name; `auto` takes docker if its daemon answers, else buildah.

    Raises ImageError if there is none.
    """
    if name == "docker" or (name == "auto" and _docker_answers()):
        return Docker()
    if shutil.which("buildah"):
        return Buildah(cache)
    missing = "neither a docker daemon nor buildah is" if name == "auto" else f"{name} is not"
    raise ImageError(f"{missing} here to build images with: install one (Debian: apt-get install buildah)")


def _docker_answers() -> bool:
    if shutil.which("docker") is None:
        return False
    try:
        done = subprocess.run(["docker", "version"], capture_output=True, check=False, timeout=10)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0

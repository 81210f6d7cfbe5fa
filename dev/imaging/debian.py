"""The base made here from Debian's packages, for machines that reach no registry of images."""

from __future__ import annotations

import hashlib
import os
import shutil
from typing import TYPE_CHECKING

from dev.imaging.errors import ImageError
from dev.imaging.terminal import run, say

if TYPE_CHECKING:
    from pathlib import Path

_SUITE = "trixie"
_PACKAGES = ("ca-certificates", "libgomp1", "python3", "python3-venv", "tini")
_OPTIONS = (
    "--variant=minbase",
    f"--include={','.join(_PACKAGES)}",
    "--format=tar",
    "--aptopt=Acquire::Languages none",
    "--aptopt=Acquire::Retries 3",
    "--dpkgopt=path-exclude=/usr/share/man/*",
    "--dpkgopt=path-exclude=/usr/share/locale/*",
    "--dpkgopt=path-exclude=/usr/share/doc/*",
    "--dpkgopt=path-include=/usr/share/doc/*/copyright",
)
# mmdebstrap then writes the same tar for the same packages.
_EPOCH = "1700000000"


def recipe_key() -> str:
    """Changes with what the base is made of, not with Debian's updates: to take those in, delete the tar."""
    return hashlib.sha256(" ".join((_SUITE, _EPOCH, *_OPTIONS)).encode()).hexdigest()[:12]


def root_filesystem(cache: Path) -> Path:
    """The base's root filesystem as a tar, from the cache or made now (20-60 s)."""
    target = cache / "images" / f"debian-{_SUITE}-{recipe_key()}.tar"
    if target.exists():
        return target
    if shutil.which("mmdebstrap") is None:
        raise ImageError(
            "mmdebstrap is missing, which makes the base from Debian's packages: apt-get install mmdebstrap, "
            f"or name an image to stand on by --base (upstream is python:3.13-slim-{_SUITE})"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    say(f"base: making Debian {_SUITE} from its packages")
    scratch = target.with_suffix(".part")
    scratch.unlink(missing_ok=True)
    environment = {**os.environ, "SOURCE_DATE_EPOCH": _EPOCH}
    log = cache / "log" / "debian.log"
    log.unlink(missing_ok=True)
    run(["mmdebstrap", *_OPTIONS, _SUITE, str(scratch)], "mmdebstrap", log, environment)
    scratch.rename(target)
    return target

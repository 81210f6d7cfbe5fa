"""An image's build context: exactly the files that it is made of, and the key that changes with them."""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dev.imaging.catalog import ROOT, Image

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_IGNORED_DIRECTORIES = {"__pycache__", ".windtunnel", ".mypy_cache", ".ruff_cache", ".pytest_cache"}
# A fixed time: the builder's layer cache compares times too, and a fresh checkout's are all new.
_EPOCH = 1_700_000_000


@dataclass(frozen=True)
class File:
    """A file of a context. The content is held, so that what is built is what the key was made from,
    also while someone edits; a large one that nobody edits is named by its path instead."""

    mode: int
    content: bytes | Path

    @classmethod
    def read(cls, path: Path) -> File:
        return cls(0o755 if path.stat().st_mode & 0o100 else 0o644, path.read_bytes())

    def digest(self) -> str:
        content = self.content if isinstance(self.content, bytes) else self.content.read_bytes()
        return hashlib.sha256(content).hexdigest()

    def write(self, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(self.content, bytes):
            target.write_bytes(self.content)
        else:
            shutil.copyfile(self.content, target)
        target.chmod(self.mode)
        os.utime(target, (_EPOCH, _EPOCH))


@dataclass(frozen=True)
class Context:
    """Files by their place in the context, and the key: 12 hex digits over them and what is beneath."""

    image: Image
    arguments: dict[str, str]
    """Build arguments: the images beneath, by reference."""
    key: str
    files: dict[str, File] = field(repr=False)

    @property
    def reference(self) -> str:
        """The image's name in the builder's storage."""
        return f"{self.image.repository}:{self.key}"

    def write(self, directory: Path) -> None:
        """Lay the files out, with times and modes that depend on nothing but their content."""
        for place, file in self.files.items():
            file.write(directory / place)
        for path in [directory, *directory.rglob("*")]:
            if path.is_dir():
                path.chmod(0o755)
                os.utime(path, (_EPOCH, _EPOCH))


def context(image: Image, arguments: dict[str, str], extra: dict[str, File] | None = None) -> Context:
    """The context of an image that is built with these arguments, with files from elsewhere in `extra`."""
    files = {str(path.relative_to(ROOT)): File.read(path) for path in own_files(image)} | (extra or {})
    digest = hashlib.sha256(f"{image.name}\n{arguments}\n".encode())
    for place, file in sorted(files.items()):
        digest.update(f"{place} {file.mode:o} {file.digest()}\n".encode())
    return Context(image, arguments, digest.hexdigest()[:12], files)


def own_files(image: Image) -> Iterator[Path]:
    """The files of the repository that an image is made from."""
    skipped = tuple(ROOT / part for part in image.without)
    # A lock's input is for people and `lock`, not for the image.
    inputs = {ROOT / lock.additions for lock in image.locks}
    for source in (f"images/{image.name}", *image.sources):
        path = ROOT / source
        for file in [path] if path.is_file() else sorted(path.rglob("*")):
            ignored = _IGNORED_DIRECTORIES & set(file.relative_to(ROOT).parts) or file in inputs
            if file.is_file() and not ignored and not any(file.is_relative_to(part) for part in skipped):
                yield file

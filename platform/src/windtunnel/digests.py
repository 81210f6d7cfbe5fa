"""Digests: the names of content. Pure functions over bytes, JSON and directories; no store here."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


def digest(data: bytes) -> str:
    """`sha256:<hex>` of the bytes."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def hex_of(name: str) -> str:
    """The digits of a digest, with or without `sha256:`: how keys and names of files call it."""
    return name.removeprefix("sha256:")


def canonical_json(value: Any) -> bytes:
    """One byte string per value: sorted keys, no spaces, UTF-8. NaN and infinity are refused (ValueError)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode()


def digest_files(root: Path, files: Iterable[Path]) -> str:
    """Digest over relative names and contents; the order in which files are given does not matter."""
    whole = hashlib.sha256()
    for name, path in sorted((path.relative_to(root).as_posix(), path) for path in files):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        whole.update(f"{name}\0{content}\n".encode())
    return "sha256:" + whole.hexdigest()


def digest_directory(root: Path) -> str:
    """Digest of all files below `root`, except hidden ones and what Python leaves behind."""
    files = (path for path in root.rglob("*") if path.is_file())
    return digest_files(root, (path for path in files if _counts(path.relative_to(root))))


def _counts(relative: Path) -> bool:
    return not any(part.startswith(".") or part == "__pycache__" for part in relative.parts)

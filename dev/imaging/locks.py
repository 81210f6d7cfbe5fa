"""Resolves the lock files anew: hash-pinned, for every platform, without the addresses of package indexes."""

from __future__ import annotations

import os
import re
import shutil
from typing import TYPE_CHECKING

from dev.imaging.catalog import IMAGES, ROOT, Lock
from dev.imaging.errors import ImageError
from dev.imaging.terminal import run, say

if TYPE_CHECKING:
    from pathlib import Path

_PROJECT = "platform/pyproject.toml"
_IMAGE_PYTHON = "3.13"
_HOST_PYTHON = "3.11"
_HOST_LOCK = "platform/requirements-dev.lock"
_CLIENTS = "tests/clients/requirements"
_HEADER = "make lock"


def lock_all(cache: Path, upgrade: bool) -> None:
    """Write every lock file; versions in them stay where they still fit, unless `upgrade`.

    Raises ImageError with the resolver's reason.
    """
    uv = _uv(cache)
    for image in IMAGES.values():
        for lock in image.locks:
            _compile(uv, cache, lock.path, _IMAGE_PYTHON, _inputs(lock), upgrade)
    host = ["--all-extras", "--group", f"{_PROJECT}:dev", _PROJECT]
    _compile(uv, cache, _HOST_LOCK, _HOST_PYTHON, host, upgrade)
    _compile(uv, cache, f"{_CLIENTS}.lock", _HOST_PYTHON, [f"{_CLIENTS}.in"], upgrade)


def _inputs(lock: Lock) -> list[str]:
    inputs = [f"--extra={extra}" for extra in lock.extras]
    if lock.extras:
        inputs.append(_PROJECT)
    if lock.additions:
        inputs.append(lock.additions)
    return inputs


def _compile(uv: str, cache: Path, path: str, python: str, inputs: list[str], upgrade: bool) -> None:
    command = [
        uv,
        "--quiet",
        "--directory",
        str(ROOT),
        "pip",
        "compile",
        "--universal",
        "--python-version",
        python,
    ]
    command += [
        "--generate-hashes",
        "--no-emit-index-url",
        "--custom-compile-command",
        _HEADER,
        "--output-file",
        path,
    ]
    command += [*(["--upgrade"] if upgrade else []), *inputs]
    log = cache / "log" / "lock.log"
    log.unlink(missing_ok=True)
    run(command, path, log, {**os.environ, "UV_CACHE_DIR": str(cache / "uv")})
    count = len(re.findall(r"^\S+==", (ROOT / path).read_text(), flags=re.MULTILINE))
    say(f"{path}: {count} packages")


def _uv(cache: Path) -> str:
    """The pinned uv that dev/venv.sh put into the cache, else the one on PATH."""
    pinned = re.search(r"^uv==(\S+)", (ROOT / "dev/uv.txt").read_text(), flags=re.MULTILINE)
    assert pinned is not None, "dev/uv.txt pins uv"
    ours = cache / f"uv-{pinned[1]}" / "bin" / "uv"
    found = str(ours) if ours.exists() else shutil.which("uv")
    if found is None:
        raise ImageError("uv is missing, which resolves the locks: run `make venv` once, or install uv")
    return found

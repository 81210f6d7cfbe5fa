"""Where lifecycles are."""

from __future__ import annotations

import difflib
from pathlib import Path

from windtunnel.errors import NotFoundError
from windtunnel.spec.loading import FILE_NAME, find_lifecycles

# In a clone of the platform, or in a repository of one's own.
_USUAL = (Path("dags/lifecycles"), Path("lifecycles"))


def lifecycles_directory(given: Path | None) -> Path:
    """The one given, or the first usual one that exists, or the last."""
    return given or next((usual for usual in _USUAL if usual.is_dir()), _USUAL[-1])


def known_lifecycles(given: Path | None) -> list[Path]:
    return find_lifecycles(lifecycles_directory(given))


def find_lifecycle(name: str, given: Path | None) -> Path:
    """Directory of a lifecycle by its name or path; raises NotFoundError that names the nearest known one."""
    for directory in (lifecycles_directory(given) / name, Path(name)):
        if (directory / FILE_NAME).is_file():
            return directory
    known = [directory.name for directory in known_lifecycles(given)]
    near = difflib.get_close_matches(name, known, n=1)
    if near:
        fix = f"did you mean {near[0]!r}?"
    elif known:
        fix = f"there are {', '.join(known)}; `windtunnel init {name}` writes a new one"
    else:
        fix = f"`windtunnel init {name}` writes one; --lifecycles names another directory"
    raise NotFoundError(f"there is no lifecycle {name!r}", where=str(lifecycles_directory(given)), fix=fix)

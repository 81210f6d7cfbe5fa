"""`windtunnel init`: the template, with the name put in."""

from __future__ import annotations

import re
from importlib.resources import files
from typing import TYPE_CHECKING

from windtunnel.cli.console import out
from windtunnel.errors import ConflictError, RequestError
from windtunnel.spec.lifecycle import NAME_PATTERN

if TYPE_CHECKING:
    from pathlib import Path

PLACEHOLDER = "__NAME__"
FILES = ("lifecycle.yaml", "features.py", "train.py", "load_sources.py")


def init_lifecycle(name: str, lifecycles: Path) -> Path:
    """Write the directory; raises RequestError for a bad name, ConflictError when it is there already."""
    if not re.fullmatch(NAME_PATTERN, name):
        raise RequestError(
            f"{name!r} is no name of a lifecycle",
            fix="use lower case letters, digits and _, beginning with a letter, such as churn_eu",
        )
    directory = lifecycles / name
    if directory.exists():
        raise ConflictError(
            "it exists already, and nothing was written", where=str(directory), fix="take another name"
        )
    directory.mkdir(parents=True)
    template = files("windtunnel.cli") / "templates" / "lifecycle"
    for file in FILES:
        text = (template / file).read_text(encoding="utf-8").replace(PLACEHOLDER, name)
        (directory / file).write_text(text, encoding="utf-8")
    out.print(f"[green]✓[/] wrote {directory}: {', '.join(FILES)}", soft_wrap=True)
    out.print(f"  next: windtunnel run {name}", markup=False)
    return directory

"""`windtunnel validate`."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from windtunnel.cli.console import err, out, tell_error
from windtunnel.errors import SpecError
from windtunnel.features.definitions import load_definitions
from windtunnel.spec import load_lifecycle

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from windtunnel.spec import Lifecycle


def validate_lifecycles(directories: Iterable[Path]) -> int:
    """Exit code: 0, or 2 when any of them has a problem."""
    code = 0
    has_feast = find_spec("feast") is not None
    for directory in directories:
        try:
            lifecycle = load_lifecycle(directory)
            if has_feast:
                load_definitions(directory, lifecycle)
        except SpecError as error:
            tell_error(error)
            code = 2
        else:
            _tell_valid(lifecycle)
    if not has_feast:
        err.print("Feast is not installed here, so what features.py defines was not checked", soft_wrap=True)
    return code


def _tell_valid(lifecycle: Lifecycle) -> None:
    spec = lifecycle.spec
    parts = (
        f"sources {', '.join(spec.sources)}",
        f"feature views {', '.join(spec.features.views)}",
        f"{spec.label.kind} label {spec.label.column}",
        f"gate {spec.evaluation.gate.mode} on {spec.evaluation.metric}",
    )
    out.print(f"[green]✓[/] [bold]{lifecycle.name}[/]  {'; '.join(parts)}", soft_wrap=True)

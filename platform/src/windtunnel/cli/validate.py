"""`windtunnel validate`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from windtunnel.cli.console import out, tell_error
from windtunnel.errors import SpecError
from windtunnel.spec import load_lifecycle

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


def validate_lifecycles(directories: Iterable[Path]) -> int:
    """Exit code: 0, or 2 when any of them has a problem."""
    code = 0
    for directory in directories:
        try:
            lifecycle = load_lifecycle(directory)
        except SpecError as error:
            tell_error(error)
            code = 2
        else:
            spec = lifecycle.spec
            parts = (
                f"sources {', '.join(spec.sources)}",
                f"feature views {', '.join(spec.features.views)}",
                f"{spec.label.kind} label {spec.label.column}",
                f"gate {spec.evaluation.gate.mode} on {spec.evaluation.metric}",
            )
            out.print(f"[green]✓[/] [bold]{lifecycle.name}[/]  {'; '.join(parts)}", soft_wrap=True)
    return code

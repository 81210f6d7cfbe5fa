"""The command line: parses, calls, and says what came of it. The only place that knows typer and rich."""

from __future__ import annotations

import sys

from windtunnel.errors import WindtunnelError, exit_code


def main() -> None:
    """Errors that Windtunnel raises on purpose are told without a traceback (exit 2, or 75 when a retry may
    help); others keep theirs.
    """
    from windtunnel.cli.app import app
    from windtunnel.cli.console import tell_error

    try:
        app()
    except WindtunnelError as error:
        tell_error(error)
        sys.exit(exit_code(error))

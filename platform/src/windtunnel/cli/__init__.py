"""The command line: parses, calls, and says what came of it. The only place that knows typer and rich."""

from __future__ import annotations

import sys

from windtunnel.errors import PermanentError, WindtunnelError, exit_code


def main() -> None:
    """Errors that Windtunnel raises on purpose, and libraries that are not installed, are told without a
    traceback (exit 2, or 75 when a retry may help); other errors keep theirs.
    """
    from windtunnel.cli.app import app
    from windtunnel.cli.console import tell_error

    try:
        app()
    except WindtunnelError as error:
        tell_error(error)
        sys.exit(exit_code(error))
    except ModuleNotFoundError as error:
        if (error.name or "windtunnel").startswith("windtunnel"):
            raise
        missing = PermanentError(
            f"this command needs {error.name}, which is not installed here",
            fix="pip install 'windtunnel[stages]'",
        )
        tell_error(missing)
        sys.exit(exit_code(missing))

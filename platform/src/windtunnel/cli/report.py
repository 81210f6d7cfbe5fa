"""`windtunnel report`: the page of a lifecycle, as a file or on standard output."""

from __future__ import annotations

import sys
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING

from windtunnel.cli.console import out
from windtunnel.cli.targets import lifecycle_of
from windtunnel.errors import PermanentError, RequestError
from windtunnel.report import render_report

if TYPE_CHECKING:
    from windtunnel.objects import ObjectStore

STDOUT = Path("-")


def write_report(name: str, store: ObjectStore, output: Path | None, *, show: bool) -> None:
    """Write the page to `output` (`-`: standard output; None: `<lifecycle>.html` here) and say where it is;
    `show` opens it in the browser of this machine.

    Raises NotFoundError for a lifecycle of which the store knows nothing, PermanentError, StoreError.
    """
    lifecycle = lifecycle_of(name)
    if output == STDOUT and show:
        raise RequestError(
            "a page on standard output cannot be opened", where="--open", fix="name a file by --output"
        )
    html = render_report(store, lifecycle)
    if output == STDOUT:
        sys.stdout.write(html)
        return
    file = output or Path(f"{lifecycle}.html")
    try:
        file.write_text(html, "utf-8")
    except OSError as error:
        raise PermanentError(
            f"cannot write the report: {error.strerror}", where=str(file), fix="name another file by --output"
        ) from error
    out.print(f"{file}  {len(html.encode()) / 1024:.0f} KiB, from {store.url}", markup=False, soft_wrap=True)
    if show and not webbrowser.open(file.resolve().as_uri()):
        out.print("There is no browser here to open it with.", markup=False)

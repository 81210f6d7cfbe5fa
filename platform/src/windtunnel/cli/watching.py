"""`windtunnel status` of ServedModels: one picture, or one that goes on."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from rich.console import Group
from rich.live import Live
from rich.text import Text

from windtunnel.cli.console import out
from windtunnel.cli.picture import picture
from windtunnel.cli.targets import Target, names_in, open_target
from windtunnel.errors import NotFoundError, TemporaryError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import RenderableType

    from windtunnel.cli.targets import Where
    from windtunnel.spec.servedmodel import ServedModel

PAUSE_SECONDS: Final = 1.0


def show(name: str | None, where: Where, environ: Mapping[str, str], *, watch: bool) -> int:
    """Show one ServedModel or all of a namespace; returns the exit code. Ctrl-C ends a watch well."""
    if name is None:
        names = names_in(where)
        if not names:
            out.print("No model serves there yet.")
            return 0
    else:
        names = [name]
    first = open_target(names[0], where, environ)
    targets = [first, *(first.beside(other) for other in names[1:])]
    if not watch:
        for target in targets:
            target.get()
        out.print(_all(targets, {}))
        return 0
    for target in targets:
        target.get()
    _watch(targets)
    return 0


def _watch(targets: Sequence[Target]) -> None:
    known: dict[str, ServedModel] = {}
    live = Live(console=out, auto_refresh=False, vertical_overflow="visible") if out.is_terminal else None
    try:
        if live is None:
            while True:
                out.print(_all(targets, known))
                time.sleep(PAUSE_SECONDS)
        with live:
            while True:
                live.update(_all(targets, known), refresh=True)
                time.sleep(PAUSE_SECONDS)
    except KeyboardInterrupt:
        return


def _all(targets: Sequence[Target], known: dict[str, ServedModel]) -> RenderableType:
    parts: list[RenderableType] = []
    for target in targets:
        parts += [_one(target, known), Text()]
    return Group(*parts[:-1])


def _one(target: Target, known: dict[str, ServedModel]) -> RenderableType:
    """The newest picture; the last one with a note while the cluster does not answer."""
    now, note, pods = datetime.now(UTC), "", None
    try:
        known[target.name] = target.get()
        pods = target.pods()
    except TemporaryError as error:
        if target.name not in known:
            raise
        note = f"not answered since: {error.what}"
    except NotFoundError:
        if target.name not in known:
            raise
        note = "it was deleted"
    return picture(known[target.name], target.label, pods, now, note)

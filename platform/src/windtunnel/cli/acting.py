"""What the commands that change a ServedModel have in common: ask first, follow up afterwards, wait."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from rich.prompt import Confirm

from windtunnel.cli.console import err, out
from windtunnel.errors import (
    NotFoundError,
    PermanentError,
    RequestError,
    StoreError,
    TemporaryError,
    WindtunnelError,
)  # fmt: skip
from windtunnel.ledger import Ledger
from windtunnel.registry.renewal import renew
from windtunnel.rollout.mirror import follow, record
from windtunnel.rollout.rollback import check_bundle

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from windtunnel.cli.targets import Target
    from windtunnel.spec.servedmodel import ModelVersion, ServedModel

WAIT_SECONDS: Final = 60.0
_POLL_SECONDS: Final = 0.5


def confirm(target: Target, lines: Sequence[str], question: str, yes: bool) -> bool:
    """Say what will happen, and ask unless `yes`. Raises PermanentError where nobody can be asked."""
    out.print(f"[bold]{target.lifecycle}[/]  [dim]{target.label}[/]")
    for line in lines:
        out.print(f"  {line}", soft_wrap=True)
    if yes:
        return True
    if not _can_ask():
        raise PermanentError("there is nobody to ask", where="standard input", fix="add --yes")
    if Confirm.ask(f"[bold]{question}[/]", console=out, default=False):
        return True
    out.print("Nothing was changed.")
    return False


def bundle_check(target: Target) -> Callable[[ModelVersion], None]:
    """Looks whether a bundle can be served; where nobody can be asked it warns, and lets it be."""

    def check(version: ModelVersion) -> None:
        store = target.store()
        if store is None:
            _warn("its bundle was not looked at: WINDTUNNEL_STORE is not set here; serving verifies it")
            return
        try:
            check_bundle(store, version)
        except StoreError as error:
            _warn(f"its bundle was not looked at: {error}; serving verifies it")

    return check


def keep_bundle(target: Target, version: ModelVersion) -> None:
    """Let no sweep take it at just this moment. Raises NotFoundError for one of which a part is gone."""
    store = target.store()
    if store is None:
        return
    try:
        is_whole = renew(store, version.bundle)
    except RequestError:
        return  # in another store than the lifecycle's, where nothing is swept
    except WindtunnelError as error:
        _warn(f"its bundle could not be kept from a sweep that may go on: {error}")
        return
    if not is_whole:
        raise NotFoundError(
            f"the bundle of version {version.version} is not whole; nothing was changed",
            where=version.bundle,
            fix="restore it from a backup, train it again, or choose another version",
        )


def finish(target: Target, model: ServedModel) -> None:
    """Ledger and alias follow: at once in a home; in a cluster the controller sees to it."""
    store = target.store()
    if store is not None:
        try:
            number = record(model, Ledger(store, model.spec.lifecycle))
            target.served_models.note_recorded(model.metadata.name, number)
        except WindtunnelError as error:
            later = "the controller" if target.home is None else "the next command or run"
            _warn(f"not in the ledger yet, {later} writes it: {error}")
    aliases = target.aliases()
    if aliases is not None:
        try:
            follow(model, aliases)
        except WindtunnelError as error:
            _warn(f"MLflow's alias does not follow yet: {error}")


def wait_until_served(target: Target, version: str) -> None:
    """Until every ready pod of a cluster serves the version; says so, or how far it is after a minute."""
    if not target.served_models.settles:
        return
    began = time.monotonic()
    state = ""
    while time.monotonic() - began < WAIT_SECONDS:
        try:
            model = target.served_models.get(target.name)
        except TemporaryError as error:
            state = str(error)
        else:
            if model is None or model.spec.champion.version != version:
                now = f"version {model.spec.champion.version}" if model else "nothing"
                _warn(f"somebody changed it again: {now} is the champion now")
                return
            status = model.status
            current = status is not None and (status.observed_generation or 0) >= (
                model.metadata.generation or 0
            )
            if status is not None and current and status.champion == version:
                out.print(
                    f"[green]✓[/] version {version} serves in {status.ready} pods "
                    f"[dim]after {time.monotonic() - began:.1f} s[/]"
                )
                return
            state = f"{status.phase}, {status.ready} ready" if status else "the controller has not seen it"
        time.sleep(_POLL_SECONDS)
    _warn(
        f"version {version} is the champion, but does not serve after {WAIT_SECONDS:.0f} s ({state}); "
        f"go on looking with `windtunnel status {target.lifecycle} --watch`"
    )


def _can_ask() -> bool:
    return sys.stdin.isatty()


def utc_now() -> datetime:
    return datetime.now(UTC)


def _warn(text: str) -> None:
    err.print(f"[yellow]note:[/] {text}", soft_wrap=True)

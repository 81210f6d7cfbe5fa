"""The processes beside the serving process, its challenger and the writer of its prediction log: how they are
started, with one end of a socket pair and few settings, and ended."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

LAST_WORDS: Final = 1.0
"""Seconds that a process gets to end, and to log why, once its socket is closed."""
_OURS: Final = "WINDTUNNEL_"
_NEEDED: Final = "WINDTUNNEL_STORE"

_Link = TypeVar("_Link", bound=asyncio.Protocol)


async def start(
    command: Sequence[str],
    settings: Mapping[str, str],
    link: Callable[[subprocess.Popen[bytes]], _Link],
) -> _Link:
    """The link, connected to a new process: `command` with `--socket` and its end of the pair appended, and
    `settings` in its environment. Raises OSError."""
    ours, theirs = socket.socketpair()
    try:
        with theirs:
            process = subprocess.Popen(
                [*command, "--socket", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env=child_environment(os.environ, settings),
                # an interrupt at a terminal is for the serving process, which drains before it ends this one
                start_new_session=True,
            )
    except BaseException:
        ours.close()
        raise
    ours.setblocking(False)
    try:
        _, linked = await asyncio.get_running_loop().create_unix_connection(lambda: link(process), sock=ours)
    except BaseException:
        ours.close()
        process.kill()
        process.wait()
        raise
    return linked


async def reap(process: subprocess.Popen[bytes]) -> int:
    """The exit code of a process whose socket is closed; one that lives on is killed."""
    return await asyncio.get_running_loop().run_in_executor(None, _wait, process)


def child_environment(environ: Mapping[str, str], more: Mapping[str, str]) -> dict[str, str]:
    """The environment without settings that only the serving process needs, the online store's password
    among them; with `more`."""
    kept = {name: value for name, value in environ.items() if not name.startswith(_OURS) or name == _NEEDED}
    return {**kept, **more}


def _wait(process: subprocess.Popen[bytes]) -> int:
    try:
        return process.wait(LAST_WORDS)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()

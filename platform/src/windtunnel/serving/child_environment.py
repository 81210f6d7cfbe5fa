"""What the processes beside the serving process get to know: the object store, and how to open it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_OURS: Final = "WINDTUNNEL_"
_NEEDED: Final = "WINDTUNNEL_STORE"


def child_environment(environ: Mapping[str, str], more: Mapping[str, str]) -> dict[str, str]:
    """The environment without settings that only the serving process needs, the online store's password
    among them; with `more`."""
    kept = {name: value for name, value in environ.items() if not name.startswith(_OURS) or name == _NEEDED}
    return {**kept, **more}

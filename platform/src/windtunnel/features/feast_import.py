"""Import Feast without the half of its import time that checks its own types.

Feast decorates its classes with typeguard's `typechecked`, which rewrites and recompiles their source: 4 of
the 8 CPU-seconds that `import feast` takes (0.67). The checks guard calls of Feast's own constructors; a
wrong argument then fails a little later. Call `prepare_feast` before anything that may import Feast, user
code included; and not before it is needed, so that a stage whose result is found again stays cheap.
"""

from __future__ import annotations

import sys
import types
from typing import Any


def _unchecked(target: Any = None, **_options: Any) -> Any:
    """Stands for `typechecked`, with and without arguments."""
    return _unchecked if target is None else target


def prepare_feast() -> None:
    """Import Feast, once."""
    if "feast" in sys.modules:
        return
    real = sys.modules.get("typeguard")
    stand_in = types.ModuleType("typeguard")
    stand_in.typechecked = _unchecked  # type: ignore[attr-defined]
    sys.modules["typeguard"] = stand_in
    try:
        import feast  # noqa: F401
    finally:
        # pandera needs the real one.
        if real is None:
            del sys.modules["typeguard"]
        else:
            sys.modules["typeguard"] = real

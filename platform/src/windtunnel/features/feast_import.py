"""Import Feast without most of its import time.

- Feast decorates its classes with typeguard's `typechecked`, which rewrites and recompiles their source: 4 of
  the 8 CPU-seconds that `import feast` takes (0.67). The checks guard calls of Feast's own constructors; a
  wrong argument then fails a little later.
- `feast.FeatureStore` imports Feast's servers with FastAPI and uvicorn, and the registry in SQL with
  SQLAlchemy: nearly half of the rest. They are imported when somebody uses them.

Call `prepare_feast` before anything that may import Feast, user code included; and not before it is needed,
so that a stage whose result is found again stays cheap.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import sys
import types
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_LATER: Final = ("feast.feature_server", "feast.ui_server")
"""Modules that are bound by name only: each is imported when something of it is asked for."""


def prepare_feast() -> None:
    """Import Feast, once."""
    if "feast" in sys.modules:
        return
    finder = _Later()
    sys.meta_path.insert(0, finder)
    try:
        with _in_the_place_of(_stand_ins()):
            import feast  # noqa: F401
    finally:
        sys.meta_path.remove(finder)


class _Later:
    """A finder of modules whose code is run at the first look into them."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name not in _LATER:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = importlib.util.LazyLoader(spec.loader)
        return spec


@contextmanager
def _in_the_place_of(modules: dict[str, types.ModuleType]) -> Iterator[None]:
    """For what is imported in it; afterwards everybody gets the real ones (pandera needs typeguard)."""
    real = {name: sys.modules.get(name) for name in modules}
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name, module in real.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


def _stand_ins() -> dict[str, types.ModuleType]:
    """What Feast binds of modules that are heavy, each name as light as its use allows."""
    modules = {"typeguard": _module("typeguard", typechecked=_unchecked)}
    if "feast.infra.registry.sql" not in sys.modules:
        modules["feast.infra.registry.sql"] = _module("feast.infra.registry.sql", SqlRegistry=_sql_registry)
    if "fastapi" not in sys.modules:
        status = types.ModuleType("fastapi.status")
        status.__getattr__ = _status_code  # type: ignore[method-assign]
        modules["fastapi"] = _module("fastapi", status=status)
        modules["fastapi.concurrency"] = _module("fastapi.concurrency", run_in_threadpool=_run_in_threadpool)
    return modules


def _module(name: str, **members: Any) -> types.ModuleType:
    module = types.ModuleType(name)
    module.__dict__.update(members)
    return module


def _unchecked(target: Any = None, **_options: Any) -> Any:
    """Stands for `typechecked`, with and without arguments."""
    return _unchecked if target is None else target


def _sql_registry(*arguments: Any, **keywords: Any) -> Any:
    """Stands for the class, of which Feast makes one where feature_store.yaml asks for a registry in SQL."""
    return importlib.import_module("feast.infra.registry.sql").SqlRegistry(*arguments, **keywords)


def _status_code(name: str) -> Any:
    return getattr(importlib.import_module("fastapi").status, name)


async def _run_in_threadpool(*arguments: Any, **keywords: Any) -> Any:
    return await importlib.import_module("fastapi.concurrency").run_in_threadpool(*arguments, **keywords)

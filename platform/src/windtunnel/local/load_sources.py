"""`python -m windtunnel.local.load_sources DIRECTORY [START END]`: run a lifecycle's own load_sources.py.

Its `load(store, start, end)` puts raw partitions into the object store (WINDTUNNEL_STORE); without dates it
loads what it calls its START and END. A process of its own, because it is the user's code.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from datetime import date
from pathlib import Path
from typing import Any

from windtunnel.objects import open_store
from windtunnel.settings import Settings

FILE_NAME = "load_sources.py"


def main(directory: str, *dates: str) -> None:
    settings = Settings.from_environment(os.environ)
    module = _import(Path(directory) / FILE_NAME)
    start, end = (date.fromisoformat(day) for day in dates) if dates else (module.START, module.END)
    module.load(open_store(settings.store, os.environ), start, end)


def _import(path: Path) -> Any:
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise SystemExit(f"{path} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # dataclasses look up the module that they stand in
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    main(*sys.argv[1:])

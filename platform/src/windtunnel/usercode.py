"""The code that a lifecycle brings along: features.py, train.py and what they import.

It runs in the stage's process with the lifecycle's directory first on the module path. Mistakes in it are the
user's to mend, so every error names the user's file and line.
"""

from __future__ import annotations

import difflib
import importlib
import re
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windtunnel.digests import digest_files
from windtunnel.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import ModuleType

    from windtunnel.spec.lifecycle import Lifecycle

# What the feature stages take nothing of, unless they name it or import it. (What of lifecycle.yaml matters
# to a stage is in its key.)
_SPEC, _LOADER = "lifecycle.yaml", "load_sources"


def load_object(directory: Path, reference: str) -> Any:
    """What `module:name` refers to in the lifecycle's directory; raises SpecError."""
    module_name, _, name = reference.partition(":")
    module = load_module(directory, module_name)
    try:
        return getattr(module, name)
    except AttributeError as error:
        near = difflib.get_close_matches(name, vars(module), n=1)
        fix = f"did you mean {module_name}:{near[0]}?" if near else f"define {name} in it"
        raise SpecError(f"there is no {name!r}", where=str(module.__file__), fix=fix) from error


def load_module(directory: Path, name: str) -> ModuleType:
    """Import a module of the lifecycle; raises SpecError with the user's file and line."""
    root = directory.resolve()
    if sys.path[:1] != [str(root)]:
        sys.path.insert(0, str(root))
    _forget_other_lifecycles(root, name)
    importlib.invalidate_caches()
    try:
        module = importlib.import_module(name)
    except Exception as error:
        raise _import_error(error, root, name) from error
    file = Path(module.__file__ or "").resolve()
    if root not in file.parents:
        raise SpecError(
            f"module {name!r} is not the lifecycle's: {file} is imported before it",
            where=str(root),
            fix=f"rename {name}.py",
        )
    return module


def features_digest(directory: Path, lifecycle: Lifecycle) -> str:
    """Digest of the files that features may depend on: editing the training code makes none stale."""
    training = lifecycle.spec.training.function.partition(":")[0]
    used = {ref.partition(":")[0] for ref in _feature_functions(lifecycle)}
    aside = {f"{module}.py": module for module in {training, _LOADER} - used}
    files = {path.relative_to(directory): path for path in directory.rglob("*") if path.is_file()}
    names = {relative.as_posix(): path for relative, path in files.items() if _counts(relative)}
    code = [path for name, path in names.items() if name.endswith(".py") and name not in aside]
    ignored = {_SPEC, *(name for name, module in aside.items() if not _imported(module, code))}
    return digest_files(directory, (path for name, path in names.items() if name not in ignored))


def _feature_functions(lifecycle: Lifecycle) -> list[str]:
    spec = lifecycle.spec
    return [
        spec.features.transform,
        spec.label.rows,
        *(source.schema_ref for source in spec.sources.values()),
    ]


def _counts(relative: Path) -> bool:
    return not any(part.startswith(".") or part == "__pycache__" for part in relative.parts)


def _imported(module: str, files: Iterable[Path]) -> bool:
    """Whether any of the files may import the module. A docstring that reads like it counts too: work that is
    done once too often is better than features of code that is gone.
    """
    line = re.compile(rb"^\s*(?:from|import)\b.*\b%b\b" % re.escape(module).encode(), re.MULTILINE)
    return any(line.search(path.read_bytes()) for path in files)


def _forget_other_lifecycles(root: Path, name: str) -> None:
    """In one process (tests, a laptop) another lifecycle's `features` may be loaded: its modules go."""
    loaded = sys.modules.get(name)
    file = getattr(loaded, "__file__", None)
    if loaded is None or file is None or root in Path(file).resolve().parents:
        return
    others = Path(file).resolve().parent
    if not (others / "lifecycle.yaml").exists():
        return
    for other, module in list(sys.modules.items()):
        where = getattr(module, "__file__", None)
        if where and others in Path(where).resolve().parents:
            del sys.modules[other]


def _import_error(error: Exception, root: Path, name: str) -> SpecError:
    if isinstance(error, ModuleNotFoundError) and error.name == name:
        return SpecError(
            f"there is no module {name!r}", where=str(root), fix=f"add {name}.py to the lifecycle"
        )
    if isinstance(error, SyntaxError):
        return SpecError(f"this is not Python: {error.msg}", where=f"{error.filename}:{error.lineno}")
    frames = [f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename).is_relative_to(root)]
    where = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else str(root / f"{name}.py")
    return SpecError(f"importing it raises {type(error).__name__}: {error}", where=where)

"""skops files whose bytes depend on the estimator alone, so that equal models get equal digests."""

from __future__ import annotations

import io
import re
import zipfile
from typing import TYPE_CHECKING, Any

from windtunnel.errors import PermanentError
from windtunnel.registry.runtimes import TRUSTED_TYPES

if TYPE_CHECKING:
    from collections.abc import Callable

# skops numbers objects by their address in memory, names the files of arrays after them, and others at
# random. Text that an estimator holds cannot look like this: its quotes are escaped.
_NAME = re.compile(r'("__id__": |"file": ")([0-9a-f-]+)')
_EPOCH = (1980, 1, 1, 0, 0, 0)


def skops_bytes(estimator: Any) -> bytes:
    """The estimator as skops; raises PermanentError when it holds a type that serving would not trust."""
    import skops.io

    try:
        data = bytes(skops.io.dumps(estimator))
        unknown = untrusted_types(data)
    except Exception as error:  # what an estimator's attributes raise when they are saved is theirs
        raise PermanentError(
            f"{type(estimator).__name__} can be neither converted to ONNX nor saved by skops: {error}",
            fix="return a scikit-learn estimator or pipeline from train",
        ) from error
    if unknown:
        raise PermanentError(
            f"the model holds types that serving does not trust: {', '.join(unknown)}",
            fix="return an estimator made of scikit-learn's own classes, or one that converts to ONNX",
        )
    return _normalised(data)


def untrusted_types(data: bytes) -> list[str]:
    """Names of the types in skops bytes that nobody vouched for; with any of them nothing is loaded."""
    import skops.io

    return sorted(set(skops.io.get_untrusted_types(data=data)) - set(TRUSTED_TYPES))


def _normalised(data: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        schema = archive.read("schema.json").decode()
        numbers: dict[str, str] = {}
        schema = _NAME.sub(_renumber(numbers), schema)
        files = {name: archive.read(name) for name in archive.namelist() if name != "schema.json"}
    renamed = {_rename(name, numbers): content for name, content in files.items()}
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for name, content in sorted({**renamed, "schema.json": schema.encode()}.items()):
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), content)
    return target.getvalue()


def _renumber(numbers: dict[str, str]) -> Callable[[re.Match[str]], str]:
    def replacement(match: re.Match[str]) -> str:
        number = numbers.setdefault(match[2], str(len(numbers) + 1))
        return f"{match[1]}{number}"

    return replacement


def _rename(name: str, numbers: dict[str, str]) -> str:
    stem, dot, ending = name.partition(".")
    return f"{numbers.get(stem, stem)}{dot}{ending}"

"""Lifecycles for the measurements: copies of the example under other names."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.bench import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

EXAMPLE = "flight_delay"
LIFECYCLES = ROOT / "dags/lifecycles"
_SHARDS = "scoring: {shards: 2}"


def write(directory: Path, name: str, shards: int = 2) -> None:
    """The example as `name`, with its code. Its score DAG is mapped over so many shards."""
    target = directory / name
    shutil.copytree(LIFECYCLES / EXAMPLE, target, ignore=shutil.ignore_patterns("__pycache__"))
    spec = (target / "lifecycle.yaml").read_text(encoding="utf-8")
    assert _SHARDS in spec
    spec = spec.replace(_SHARDS, f"scoring: {{shards: {shards}}}").replace(EXAMPLE, name)
    (target / "lifecycle.yaml").write_text(spec, encoding="utf-8")


@contextmanager
def beside_the_example(shards: dict[str, int]) -> Iterator[None]:
    """Lifecycles (shards by name) where images take theirs from; gone again afterwards."""
    try:
        for name, number in shards.items():
            shutil.rmtree(LIFECYCLES / name, ignore_errors=True)
            write(LIFECYCLES, name, number)
        yield
    finally:
        for name in shards:
            shutil.rmtree(LIFECYCLES / name, ignore_errors=True)


def names(number: int) -> Sequence[str]:
    return [f"lifecycle_{each:03}" for each in range(number)]

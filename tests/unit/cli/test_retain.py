"""`windtunnel retain`, in front of a run that says what it was asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from windtunnel.cli import retain
from windtunnel.local.runner import Outcome
from windtunnel.spec.stages import StageResult

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Shell

FACTS = {
    "kept": {"bundles": {"objects": 8, "bytes": 3 << 20}, "cache": {"objects": 1200, "bytes": 1 << 10}},
    "swept": {"cache": {"objects": 7, "bytes": 99}},
}


@pytest.mark.parametrize(
    ("options", "dry_run", "words"),
    [((), False, ["gone"]), (("--dry-run",), True, ["would go", "nothing was deleted"])],
)
def test_what_is_kept_and_what_goes_is_told_by_kind(
    windtunnel: Shell,
    lifecycle_directory: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
    dry_run: bool,
    words: list[str],
) -> None:
    def run_here(directory: Path, *_: Any, dag: str, params: Any) -> tuple[Outcome, int]:
        assert (dag, params) == ("retain", {"dry_run": dry_run})
        facts = {**FACTS, "dry_run": dry_run}
        return Outcome(directory.name, "run-1", None, {"retain": StageResult(facts=facts)}), 0

    monkeypatch.setattr(retain, "run_here", run_here)
    code, output = windtunnel("retain", str(lifecycle_directory), *options)
    assert code == 0
    lines = [" ".join(line.split()) for line in output.splitlines()]
    assert "bundles 8 3 MiB" in lines
    assert "cache 1,200 1 KiB 7 99 B" in lines
    assert all(any(word in line for line in lines) for word in words)


def test_a_failure_is_its_exit_code(
    windtunnel: Shell, lifecycle_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retain, "run_here", lambda *_, **__: (None, 75))
    assert windtunnel("retain", str(lifecycle_directory))[0] == 75

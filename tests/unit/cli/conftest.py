"""The command line in this process, in a directory of its own."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

from windtunnel.cli import main

if TYPE_CHECKING:
    from pathlib import Path


class Shell:
    """Calls the command line in this process, in a directory of its own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def __call__(self, *arguments: str) -> tuple[int, str]:
        """Exit code and output of `windtunnel ARGUMENTS`."""
        self._monkeypatch.setattr(sys, "argv", ["windtunnel", *arguments])
        with pytest.raises(SystemExit) as leave:
            main()
        output, errors = self._capsys.readouterr()
        return int(leave.value.code or 0), output + errors


@pytest.fixture
def windtunnel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    for name in [name for name in os.environ if name.startswith("WINDTUNNEL_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return Shell(monkeypatch, capsys)

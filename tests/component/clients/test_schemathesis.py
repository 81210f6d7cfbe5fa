"""Schemathesis holds the server to its published OpenAPI document (`make fuzz` gives it longer)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from schemathesis_run import schemathesis

if TYPE_CHECKING:
    from pathlib import Path

    from serving_process import ServingProcess


def test_the_server_keeps_to_its_document(clients: Any, server: ServingProcess, tmp_path: Path) -> None:
    schemathesis(server.url, tmp_path, examples=8, phases="examples,fuzzing", seconds=180)
    assert server.process.poll() is None
    assert "unexpected error" not in server.log

"""A serving process with version 1 loaded; each test module has its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from served_bundle import make_version, served_model, write_served_model
from serving_process import ServingProcess

from windtunnel.objects import open_store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServingProcess]:
    """Its online store is a port where nobody listens."""
    directory: Path = tmp_path_factory.mktemp("serving")
    store = open_store(str(directory / "store"), {})
    file = directory / "served.json"
    write_served_model(file, served_model(make_version(store, "1", 1.0)))
    with ServingProcess(file, directory / "store", online_store="redis://127.0.0.1:1/0") as process:
        process.wait_for("/v2/health/ready")
        yield process

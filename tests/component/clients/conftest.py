"""A serving process with an online store that knows nobody, and an environment with real clients."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from redis_process import redis_process
from schemathesis_run import CLIENTS
from served_bundle import make_version, served_model, write_served_model
from serving_process import ServingProcess

from windtunnel.objects import open_store

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServingProcess]:
    directory = tmp_path_factory.mktemp("serving")
    store = open_store(str(directory / "store"), {})
    file = directory / "served.json"
    write_served_model(file, served_model(make_version(store, "1", 1.0)))
    with (
        redis_process() as port,
        ServingProcess(file, directory / "store", online_store=f"redis://127.0.0.1:{port}/0") as process,
    ):
        process.wait_for("/v2/health/ready")
        yield process


class Clients:
    """Programs of the clients' environment."""

    def run(self, *command: str, data: str = "", seconds: float = 120.0) -> str:
        """What it writes; raises AssertionError with all of it when it fails."""
        done = subprocess.run(
            [str(CLIENTS / command[0]), *command[1:]],
            input=data,
            capture_output=True,
            text=True,
            timeout=seconds,
            cwd=ROOT,
        )
        assert done.returncode == 0, f"{command}:\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def calls(self, script: str, process: ServingProcess, calls: list[dict[str, Any]]) -> dict[str, Any]:
        """What a script of tests/clients says of these calls."""
        wanted = {"url": f"127.0.0.1:{process.port}", "calls": calls}
        said: dict[str, Any] = json.loads(
            self.run("python", f"tests/clients/{script}.py", data=json.dumps(wanted))
        )
        return said


@pytest.fixture(scope="session")
def clients() -> Clients:
    assert (CLIENTS / "python").exists(), "there are no clients: run dev/clients.sh, as `make component` does"
    return Clients()

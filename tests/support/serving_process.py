"""The serving runtime as a process of its own, as it runs in a pod; only its ServedModel is a file."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self

from waiting import HANG

if TYPE_CHECKING:
    from collections.abc import Mapping


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


class ServingProcess:
    """A context manager; the process has ended when it is left."""

    def __init__(
        self,
        served_model: Path,
        store: Path | str,
        *,
        online_store: str = "",
        prefix: tuple[str, ...] = (),
        arguments: tuple[str, ...] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log_path = served_model.parent / f"serving-{self.port}.log"
        self._command = [
            *prefix, sys.executable, "-m", "windtunnel.serving", "--file", str(served_model),
            "--host", "127.0.0.1", "--port", str(self.port), "--drain-seconds", "0.5",
            *arguments,
        ]  # fmt: skip
        source = Path(__file__).parents[2] / "platform" / "src"
        self._environment = {
            **os.environ,
            "PYTHONPATH": str(source),
            "WINDTUNNEL_STORE": str(store),
            "WINDTUNNEL_ONLINE_STORE": online_store,
            **(environment or {}),
        }
        self._log: IO[bytes] | None = None
        self.process: subprocess.Popen[bytes]

    def __enter__(self) -> Self:
        self._log = self.log_path.open("wb")
        self.process = subprocess.Popen(
            self._command, env=self._environment, stderr=self._log, stdout=self._log
        )
        return self

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        finally:
            if self._log:
                self._log.close()

    @property
    def log(self) -> str:
        """What it has written so far."""
        return self.log_path.read_text()

    def wait_for(self, path: str, status: int = 200, seconds: float = HANG) -> float:
        """Seconds until the path answers with that status."""
        started = time.monotonic()
        while time.monotonic() - started < seconds:
            if self.get(path)[0] == status:
                return time.monotonic() - started
            assert self.process.poll() is None, self.log
            time.sleep(0.02)
        raise AssertionError(
            f"{path} did not answer {status} within {seconds} s: {self.get(path)}\n{self.log}"
        )

    def get(self, path: str) -> tuple[int, Any]:
        """(status, decoded body); status 0 when nothing listens."""
        return self._call(urllib.request.Request(self.url + path))

    def infer(self, body: Any, model: str = "flight_delay", version: str = "") -> tuple[int, Any]:
        """POST a body (bytes as they are, all else as JSON) to the model."""
        path = f"/v2/models/{model}" + (f"/versions/{version}" if version else "") + "/infer"
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self._call(urllib.request.Request(self.url + path, data=data, method="POST"))

    def _call(self, request: urllib.request.Request) -> tuple[int, Any]:
        try:
            with urllib.request.urlopen(request, timeout=HANG) as response:
                return response.status, _decoded(response.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, _decoded(error.read())
        except (urllib.error.URLError, ConnectionError):
            return 0, None


def _decoded(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body.decode()

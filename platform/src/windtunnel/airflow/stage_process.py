"""A stage as a child process: in a session of its own, read line by line, ended with all that it started."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import select
import signal
import subprocess
import sys
import termios
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

KILL_AFTER = 10.0
"""Seconds from SIGTERM to SIGKILL."""
_TICK = 0.25
_LONGEST_LINE = 32_768
_LINE_ENDS = re.compile(rb"[\r\n]+")

# What a stage may know of the worker's environment. An allow-list: Airflow's settings may hold passwords,
# and what is added to the worker tomorrow must not reach the user's code by itself.
_ALLOWED = {
    "HOME", "USER", "LOGNAME", "PATH", "TMPDIR", "TZ", "LANG", "LC_ALL",
    "HOSTNAME", "POD_NAME", "POD_NAMESPACE",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE",
    "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy",
    "LD_LIBRARY_PATH", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT",
}  # fmt: skip
_ALLOWED_PREFIXES = (
    "WINDTUNNEL_", "AWS_", "MLFLOW_", "NVIDIA_", "CUDA_",
    "OMP_", "OPENBLAS_", "MKL_", "NUMEXPR_", "POLARS_", "ARROW_",
)  # fmt: skip


def stage_environment(environ: Mapping[str, str], extra: Mapping[str, str]) -> dict[str, str]:
    """The environment of a stage: what the allow-list lets through of `environ`, and `extra`.

    WINDTUNNEL_STAGE_ENV holds the names of more, comma-separated: those that the platform's values give to
    stages.
    """
    given = {name.strip() for name in environ.get("WINDTUNNEL_STAGE_ENV", "").split(",")}
    allowed = {
        name: value
        for name, value in environ.items()
        if name in _ALLOWED or name in given or name.startswith(_ALLOWED_PREFIXES)
    }
    return {**allowed, "PYTHONUNBUFFERED": "1", **extra}


class StageProcess:
    """A running child.

    `lines()` yields its output until it has ended. `stop()` asks it to end and may be called from a signal
    handler while `lines()` is being read: whoever reads then also sees to the SIGKILL that follows.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Raises OSError when there is no such program."""
        self._kill_at: float | None = None
        self._popen = subprocess.Popen(
            command,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        """Also the id of its process group."""
        return self._popen.pid

    @property
    def stopped(self) -> bool:
        """Whether `stop()` was called."""
        return self._kill_at is not None

    def lines(self) -> Iterator[str]:
        """Its output, stdout and stderr as they come, without line ends; returns when the child has ended."""
        assert self._popen.stdout is not None
        descriptor = self._popen.stdout.fileno()
        poll = select.poll()
        poll.register(descriptor, select.POLLIN | select.POLLHUP)
        rest = b""
        left: int | None = None
        while True:
            if left is None and self._popen.poll() is not None:
                left = _waiting(descriptor)
            if left == 0:
                # The child is gone, but what it started may still hold the pipe, and write for ever.
                break
            if poll.poll(_TICK * 1000):
                data = os.read(descriptor, 65_536 if left is None else left)
                if not data:
                    break
                left = None if left is None else left - len(data)
                *whole, rest = _LINE_ENDS.split(rest + data)
                if len(rest) > _LONGEST_LINE:
                    whole, rest = [*whole, rest], b""
                yield from (_text(line) for line in whole if line)
            self._kill_when_due()
        if rest:
            yield _text(rest)
        while self._popen.poll() is None:
            time.sleep(_TICK / 5)
            self._kill_when_due()

    def stop(self) -> None:
        """Ask the whole group to end; what has not after KILL_AFTER seconds is killed. Does not wait."""
        if self._kill_at is None:
            self._kill_at = time.monotonic() + KILL_AFTER
            self._signal(signal.SIGTERM)

    def close(self) -> int:
        """End what is left of the group at once; the exit code of the child, negative for a signal."""
        self._signal(signal.SIGKILL)
        code = self._popen.wait()
        if self._popen.stdout is not None:
            self._popen.stdout.close()
        return code

    def _kill_when_due(self) -> None:
        if self._kill_at is not None and time.monotonic() >= self._kill_at:
            self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._popen.pid, number)


def _waiting(descriptor: int) -> int:
    """Bytes that are in the pipe now."""
    return int.from_bytes(fcntl.ioctl(descriptor, termios.FIONREAD, bytes(4)), sys.byteorder)


def _text(line: bytes) -> str:
    return line.decode(errors="replace")

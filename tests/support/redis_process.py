"""A real Redis (or Valkey) on a port of its own."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import time
from typing import TYPE_CHECKING

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from serving_process import free_port
from waiting import HANG

if TYPE_CHECKING:
    from collections.abc import Iterator

BINARY = shutil.which("redis-server") or shutil.which("valkey-server")
MISSING = "no redis-server or valkey-server on this machine: apt-get install redis-server"


@contextlib.contextmanager
def redis_process(*options: str, port: int | None = None) -> Iterator[int]:
    """Its port. `options` go to its command line, after ours."""
    assert BINARY, MISSING
    port = port or free_port()
    command = [BINARY, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--loglevel", "warning"]
    process = subprocess.Popen([*command, *options], stdout=subprocess.DEVNULL)
    try:
        with redis.Redis(port=port, retry=Retry(NoBackoff(), 0)) as client:
            _wait(client)
        yield port
    finally:
        # It may have been stopped, which a plain end would wait behind.
        process.kill()
        process.wait(HANG)


def _wait(client: redis.Redis) -> None:
    deadline = time.monotonic() + HANG
    while True:
        try:
            client.ping()
        except redis.AuthenticationError:
            return
        except (redis.ConnectionError, redis.BusyLoadingError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return

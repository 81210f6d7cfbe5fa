"""What several component tests stand on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from redis_process import redis_process

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def redis_port() -> Iterator[int]:
    """The port of a Redis that a test file has for itself."""
    with redis_process() as port:
        yield port

"""One connection to a Redis (or Valkey) that many concurrent reads share.

Requests are written as they come and answered in the same order, so that the n-th answer belongs to the n-th
command: what breaks that order (an answer too late, bytes that are no answer) ends the connection, and with
it everything that still waits on it. The next read connects again.
"""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING, Any, Final

from windtunnel.errors import StoreError
from windtunnel.features.online.redis_link import ADVICE, WHERE, ConnectionLost, RedisLink, refused

if TYPE_CHECKING:
    from collections.abc import Sequence

    from windtunnel.features.online.redis_address import RedisAddress

_BACKOFF: Final = (0.02, 0.5)
"""Seconds before the first and any later try to connect again; what a read waits for it counts towards the
time that it has to connect."""


class Hmget:
    """HMGET of the same fields of many keys: all that they share is encoded once. A key is `prefix`, its own
    name, and `suffix`."""

    def __init__(self, fields: Sequence[bytes], prefix: bytes = b"", suffix: bytes = b"") -> None:
        self._head = b"*%d\r\n$5\r\nHMGET\r\n$" % (len(fields) + 2)
        self._prefix = prefix
        self._shared = len(prefix) + len(suffix)
        self._tail = suffix + b"\r\n" + b"".join(b"$%d\r\n%b\r\n" % (len(one), one) for one in fields)

    def of(self, name: bytes) -> bytes:
        """The command for the key of that name."""
        return b"%b%d\r\n%b%b%b" % (self._head, self._shared + len(name), self._prefix, name, self._tail)


class RedisConnection:
    """Connects when it is first asked; belongs to the event loop that asks it.

    `timeout` is in seconds, once for connecting and once for answering. At most `max_waiting` commands wait
    for an answer; what would be more is refused at once, because it would only wait for its timeout.
    """

    def __init__(self, address: RedisAddress, *, timeout: float = 1.0, max_waiting: int = 32768) -> None:
        self._address = address
        self._timeout = timeout
        self._max_waiting = max_waiting
        self._waiting = 0
        self._link: RedisLink | None = None
        self._connecting: asyncio.Task[RedisLink | StoreError] | None = None
        self._failures = 0
        self._closed = False

    async def ask(self, commands: bytes, count: int) -> list[Any]:
        """The answers to `count` encoded commands, which must be safe to send twice: when the connection
        breaks they are asked once more on a new one.

        Raises StoreError: no connection, no answer in time, refused, or too many waiting; DataError when a
        key holds something else than a hash.
        """
        if self._waiting + count > self._max_waiting:
            raise StoreError(
                f"the online store is behind: {self._waiting} reads wait for it", where=WHERE, fix=ADVICE
            )
        self._waiting += count
        try:
            link = self._link
            if link is None:
                link = await self._connected()
            try:
                answers = await link.send(commands, count)
            except ConnectionLost:
                link = await self._connected()
                answers = await link.send(commands, count)
        finally:
            self._waiting -= count
        if error := refused(answers):
            raise error
        return answers

    async def close(self) -> None:
        """End the connection; what still waits fails, and so does every later read."""
        self._closed = True
        if self._connecting is not None:
            self._connecting.cancel()
        if self._link is not None:
            await self._link.close()

    async def _connected(self) -> RedisLink:
        """The connection, or a new one. All that ask meanwhile wait for the same try."""
        if self._link is not None:
            return self._link
        if self._closed:
            raise StoreError("the connection was closed", where=WHERE, fix="open another")
        if self._connecting is None:
            # A task of its own, which the end of one reader does not end for the others.
            self._connecting = asyncio.create_task(self._connect())
        try:
            outcome = await asyncio.shield(self._connecting)
        except asyncio.CancelledError:
            if self._closed:
                raise StoreError("the connection was closed", where=WHERE, fix="open another") from None
            raise
        if isinstance(outcome, StoreError):
            raise StoreError(outcome.what, where=outcome.where, fix=outcome.fix)
        return outcome

    async def _connect(self) -> RedisLink | StoreError:
        """A link that has logged in, or why there is none: an error of its own for each that waits."""
        started = time.monotonic()
        try:
            async with asyncio.timeout(self._timeout):
                await asyncio.sleep(self._pause())
                link = await RedisLink.open(self._address, self._timeout, self._lost)
        except TimeoutError:
            self._failures += 1
            waited = time.monotonic() - started
            return _no_connection(self._address, f"no connection within {waited:.1f} s")
        except (OSError, UnicodeError) as error:  # UnicodeError: a host that cannot be a name
            self._failures += 1
            return _no_connection(self._address, getattr(error, "strerror", None) or str(error))
        except StoreError as error:
            self._failures += 1
            return error
        finally:
            self._connecting = None
        self._failures = 0
        self._link = link
        return link

    def _pause(self) -> float:
        """Seconds to wait before connecting: none at first, then longer with each failure, and never in step
        with other servers that lost the same store."""
        if not self._failures:
            return 0.0
        first, longest = _BACKOFF
        longest = min(longest, self._timeout / 2)
        return float(min(longest, first * 2 ** min(self._failures, 16)) * random.uniform(0.5, 1.0))

    def _lost(self, link: RedisLink) -> None:
        if self._link is link:
            self._link = None


def _no_connection(address: RedisAddress, reason: str) -> StoreError:
    return StoreError(
        f"the online store did not answer: {reason} ({address.host}:{address.port})", where=WHERE, fix=ADVICE
    )

"""Routes: paths and methods to the dataplane, errors to status codes (RSGI, served by Granian)."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any, Final

from granian._granian import RSGIProtocolClosed
from prometheus_client import CONTENT_TYPE_LATEST

from windtunnel import __version__
from windtunnel.errors import NotFoundError, RequestError, TemporaryError, WindtunnelError
from windtunnel.serving import protocol

if TYPE_CHECKING:
    from granian._granian import RSGIHTTPProtocol as HTTPProtocol
    from granian.rsgi import Scope

    from windtunnel.serving.dataplane import Dataplane
    from windtunnel.serving.metrics import Metrics

log = logging.getLogger(__name__)

_JSON: Final = ("content-type", "application/json")
_TEXT: Final = ("content-type", CONTENT_TYPE_LATEST)
_CLOSE: Final = ("connection", "close")
BODY_SECONDS = 30.0
"""Seconds that a request's body may take to come."""
_CALLER_GONE: Final = 499
"""Not sent, only counted: the caller hung up before the answer. It says nothing of the model."""
_DISCARD: Final = 64 * 1024 * 1024
"""Bytes of an over-large body that are read and dropped, so that a well-behaved caller gets to see the
413."""


class HttpError(WindtunnelError):
    """An error that is about HTTP itself."""

    def __init__(self, status: int, what: str, fix: str = "") -> None:
        super().__init__(what, fix=fix)
        self.status = status


class App:
    """The RSGI application."""

    def __init__(self, dataplane: Dataplane, metrics: Metrics) -> None:
        self._dataplane = dataplane
        self._metrics = metrics
        self.draining = False
        """No longer ready; still answers."""
        self.in_flight = 0

    async def __rsgi__(self, scope: Scope, protocol_: HTTPProtocol) -> None:
        self.in_flight += 1
        try:
            status, header, body = await self._answer(scope, protocol_)
            headers = [header, _CLOSE] if self.draining else [header]
            protocol_.response_bytes(status, headers, body)
        finally:
            self.in_flight -= 1

    async def _answer(self, scope: Scope, http: HTTPProtocol) -> tuple[int, tuple[str, str], bytes]:
        try:
            # `OPTIONS *` has a path without a slash
            parts = scope.path.split("/")[1:] or [scope.path]
            if parts[0] != "v2":
                if parts == ["metrics"]:
                    _expect(scope, "GET")
                    return 200, _TEXT, await asyncio.create_task(self._metrics.text())
                raise NotFoundError(f"there is nothing at {scope.path[:200]}", fix="see /v2/models/<model>")
            if parts[-1] == "infer" and parts[1:2] == ["models"]:
                return await self._infer(scope, http, parts)
            _expect(scope, "GET")
            status, value = self._look_up(scope.path, parts)
            return status, _JSON, protocol.encode(value)
        except Exception as error:
            return _status(error), _JSON, protocol.error_body(_message(error))

    def _look_up(self, path: str, parts: list[str]) -> tuple[int, Any]:
        match parts[1:]:
            case [] | [""]:
                return 200, {"name": "windtunnel", "version": __version__, "extensions": []}
            case ["health", "live"]:
                return 200, {"live": True}
            case ["health", "ready"]:
                return self._ready()
            case ["models", name]:
                return 200, self._dataplane.describe(name, None)
            case ["models", name, "versions", version]:
                return 200, self._dataplane.describe(name, version)
            case ["models", name, "ready"]:
                self._dataplane.select(name, None)
                return 200, {"name": name, "ready": True}
            case ["models", name, "versions", version, "ready"]:
                self._dataplane.select(name, version)
                return 200, {"name": name, "version": version, "ready": True}
        raise NotFoundError(f"there is nothing at {path[:200]}", fix="see /v2/models/<model>")

    def _ready(self) -> tuple[int, Any]:
        if self.draining:
            return 503, {"ready": False, "reason": "shutting down"}
        if self._dataplane.champion is None:
            failure = self._dataplane.failure
            return 503, {"ready": False, "reason": failure.message if failure else "no model is loaded yet"}
        return 200, {"ready": True}

    async def _infer(
        self, scope: Scope, http: HTTPProtocol, parts: list[str]
    ) -> tuple[int, tuple[str, str], bytes]:
        started = time.perf_counter()
        model, version, role = "", "", "champion"
        try:
            match parts:
                case [_, _, name, _]:
                    wanted = None
                case [_, _, name, "versions", wanted, _]:
                    pass
                case _:
                    raise NotFoundError(f"there is nothing at {scope.path[:200]}")
            _expect(scope, "POST")
            loaded = self._dataplane.select(name, wanted)
            model, version = loaded.lifecycle, loaded.version
            role, answer = await self._dataplane.infer(
                loaded, await _body(scope, http), pinned=wanted is not None
            )
            version = answer.model_version
            status, body = 200, protocol.encode(answer)
        except Exception as error:
            status, body = _status(error), protocol.error_body(_message(error))
        self._metrics.of(model, version, role).answered(status, time.perf_counter() - started)
        return status, _JSON, body


def _expect(scope: Scope, method: str) -> None:
    if scope.method != method:
        raise HttpError(405, f"{scope.method} is not allowed on {scope.path[:200]}", f"use {method}")


async def _body(scope: Scope, http: HTTPProtocol) -> bytes:
    """The request's body. Raises HttpError, also for one that takes too long: who sends byte by byte would
    hold a connection and up to 4 MiB for ever."""
    # A real task: Granian's own cannot be cancelled.
    reading = asyncio.create_task(_read(scope, http))
    too_late = asyncio.get_running_loop().call_later(BODY_SECONDS, reading.cancel)
    try:
        return await reading
    except asyncio.CancelledError:
        raise HttpError(
            408, f"the body did not come within {BODY_SECONDS:.0f} s", "send it at once"
        ) from None
    finally:
        too_late.cancel()


async def _read(scope: Scope, http: HTTPProtocol) -> bytes:
    """The request's body; a body over the limit is refused without being kept."""
    headers = scope.headers
    length = headers.get("content-length")
    if length is not None and int(length) <= protocol.MAX_BODY:
        if "content-encoding" in headers:
            raise HttpError(415, "compressed bodies are not supported", "send plain JSON")
        if "inference-header-content-length" in headers:
            raise HttpError(415, "binary tensors are not supported", "send tensors as JSON")
        return await http()
    chunks: list[bytes] = []
    size = 0
    async for chunk in http:
        size += len(chunk)
        if size <= protocol.MAX_BODY:
            chunks.append(chunk)
        elif size > _DISCARD:
            break
        else:
            chunks.clear()
    if size > protocol.MAX_BODY:
        raise HttpError(
            413, f"the body is larger than {protocol.MAX_BODY >> 20} MiB", "send fewer rows in a request"
        )
    return b"".join(chunks)


def _status(error: Exception) -> int:
    match error:
        case HttpError():
            return error.status
        case NotFoundError():
            return 404
        case RequestError():
            return 400
        case TemporaryError():
            return 503
        case RSGIProtocolClosed():
            return _CALLER_GONE
    return 500


def _message(error: Exception) -> str:
    """What the caller may know; the log has the rest."""
    if isinstance(error, RSGIProtocolClosed):
        return "the caller has gone"
    if isinstance(error, WindtunnelError):
        if _status(error) == 500:
            log.error("%s", error, exc_info=error)
        return str(error)
    log.error("unexpected error while answering", exc_info=error)
    return "internal error; the server's log says more"

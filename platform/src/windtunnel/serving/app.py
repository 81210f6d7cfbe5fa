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
from windtunnel.serving import openapi, protocol

if TYPE_CHECKING:
    from granian._granian import RSGIHeaders as Headers
    from granian._granian import RSGIHTTPProtocol as HTTPProtocol
    from granian.rsgi import Scope

    from windtunnel.serving.dataplane import Dataplane
    from windtunnel.serving.metrics import Metrics

log = logging.getLogger(__name__)

_Headers = list[tuple[str, str]]
_JSON: Final = [("content-type", "application/json")]
_BINARY: Final = ("content-type", "application/octet-stream")
_TEXT: Final = [("content-type", CONTENT_TYPE_LATEST)]
_JSON_LENGTH: Final = "inference-header-content-length"
"""Bytes of JSON before the binary part of a body."""
_CLOSE: Final = ("connection", "close")
BODY_SECONDS = 30.0
"""Seconds that a request's body may take to come."""
_CALLER_GONE: Final = 499
"""Not sent, only counted: the caller hung up before the answer. It says nothing of the model."""
_READING: Final = ("GET", "HEAD")
_LENGTH_DIGITS: Final = 10
_DISCARD: Final = 64 * 1024 * 1024
"""Bytes of an over-large body that are read and dropped, so that a well-behaved caller gets to see the
413."""


class HttpError(WindtunnelError):
    """An error that is about HTTP itself."""

    def __init__(self, status: int, what: str, fix: str = "", header: tuple[str, str] | None = None) -> None:
        super().__init__(what, fix=fix)
        self.status = status
        self.headers = [header] if header else []
        """That HTTP wants beside the status."""


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
            status, headers, body = await self._answer(scope, protocol_)
            protocol_.response_bytes(status, [*headers, _CLOSE] if self.draining else headers, body)
        finally:
            self.in_flight -= 1

    async def _answer(self, scope: Scope, http: HTTPProtocol) -> tuple[int, _Headers, bytes]:
        try:
            # `OPTIONS *` has a path without a slash
            parts = scope.path.split("/")[1:] or [scope.path]
            if parts[-1] == "infer" and parts[:2] == ["v2", "models"]:
                return await self._infer(scope, http, parts)
            if scope.method not in _READING:
                # what is not read cuts the caller off before it sees the answer
                await _body(scope.headers, http)
            if parts == ["metrics"]:
                _expect(scope, *_READING)
                return 200, _TEXT, await asyncio.create_task(self._metrics.text())
            status, value = self._look_up(scope.path, parts)
            _expect(scope, *_READING)
            return status, _JSON, protocol.encode(value)
        except Exception as error:
            return _refusal(error)

    def _look_up(self, path: str, parts: list[str]) -> tuple[int, Any]:
        match parts:
            case ["v2"] | ["v2", ""]:
                extensions = protocol.EXTENSIONS
                return 200, {"name": "windtunnel", "version": __version__, "extensions": extensions}
            case ["v2", "openapi.json"]:
                return 200, openapi.document(self._dataplane.lifecycle, self._dataplane.champion)
            case ["v2", "health", "live"]:
                return 200, {"live": True}
            case ["v2", "health", "ready"]:
                return self._ready()
            case ["v2", "models", name]:
                return 200, self._dataplane.describe(name, None)
            case ["v2", "models", name, "versions", version]:
                return 200, self._dataplane.describe(name, version)
            case ["v2", "models", name, "ready"]:
                self._dataplane.select(name, None)
                return 200, {"name": name, "ready": True}
            case ["v2", "models", name, "versions", version, "ready"]:
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

    async def _infer(self, scope: Scope, http: HTTPProtocol, parts: list[str]) -> tuple[int, _Headers, bytes]:
        started = time.perf_counter()
        model, version, role = "", "", "champion"
        try:
            sent = scope.headers
            body = await _body(sent, http)
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
            request = protocol.parse(body, _json_length(sent))
            role, answer = await self._dataplane.infer(loaded, request, pinned=wanted is not None)
            version = answer.model_version
            status, headers, said = 200, *_encoded(request, answer)
        except Exception as error:
            status, headers, said = _refusal(error)
        self._metrics.of(model, version, role).answered(status, time.perf_counter() - started)
        return status, headers, said


def _encoded(request: protocol.InferRequest, answer: protocol.InferResponse) -> tuple[_Headers, bytes]:
    if not request.wants_binary():
        return _JSON, protocol.encode(answer)
    said, json_length = protocol.encode_binary(answer)
    return [_BINARY, (_JSON_LENGTH, str(json_length))], said


def _expect(scope: Scope, *methods: str) -> None:
    if scope.method not in methods:
        raise HttpError(
            405,
            f"{scope.method[:80]} is not allowed on {scope.path[:200]}",
            f"use {methods[0]}",
            ("allow", ", ".join(methods)),
        )


def _json_length(headers: Headers) -> int | None:
    """Bytes of JSON in a body that has a binary part; None for one that has none. Raises HttpError for an
    encoding, RequestError for a length that is none."""
    if (encoding := headers.get("content-encoding")) is not None and encoding.lower() != "identity":
        raise HttpError(
            415, "compressed bodies are not supported", "send it plain", ("accept-encoding", "identity")
        )
    length = headers.get(_JSON_LENGTH)
    if length is None:
        return None
    if not (length.isascii() and length.isdecimal() and len(length) <= _LENGTH_DIGITS):
        raise RequestError(
            f"{length[:80]!r} is no number of bytes",
            where="header Inference-Header-Content-Length",
            fix="send the bytes of the JSON before the binary part",
        )
    return int(length)


async def _body(headers: Headers, http: HTTPProtocol) -> bytes:
    """The request's body. Raises HttpError, also for one that takes too long: who sends byte by byte would
    hold a connection and up to 4 MiB for ever."""
    # A real task: Granian's own cannot be cancelled.
    reading = asyncio.create_task(_read(headers, http))
    too_late = asyncio.get_running_loop().call_later(BODY_SECONDS, reading.cancel)
    try:
        return await reading
    except asyncio.CancelledError:
        raise HttpError(
            408, f"the body did not come within {BODY_SECONDS:.0f} s", "send it at once"
        ) from None
    finally:
        too_late.cancel()


async def _read(headers: Headers, http: HTTPProtocol) -> bytes:
    """The request's body; a body over the limit is refused without being kept."""
    length = headers.get("content-length")
    if length is not None and int(length) <= protocol.MAX_BODY:
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


def _refusal(error: Exception) -> tuple[int, _Headers, bytes]:
    headers = [*_JSON, *error.headers] if isinstance(error, HttpError) else _JSON
    return _status(error), headers, protocol.error_body(_message(error))


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

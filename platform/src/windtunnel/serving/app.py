"""Routes: paths and methods to the dataplane, errors to status codes."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any, Final

from prometheus_client import CONTENT_TYPE_LATEST

from windtunnel import __version__
from windtunnel.errors import NotFoundError, RequestError, TemporaryError, WindtunnelError
from windtunnel.serving import openapi, protocol
from windtunnel.serving.dataplane import Answered, Dataplane
from windtunnel.serving.http_body import HttpError
from windtunnel.serving.http_messages import Answer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping

    from windtunnel.serving.http_messages import Request
    from windtunnel.serving.metrics import Metrics
    from windtunnel.serving.model import LoadedVersion

log = logging.getLogger(__name__)

_Headers = list[tuple[str, str]]
_JSON: Final = [("content-type", "application/json")]
_BINARY: Final = ("content-type", "application/octet-stream")
_TEXT: Final = [("content-type", CONTENT_TYPE_LATEST)]
_JSON_LENGTH: Final = "inference-header-content-length"
"""Bytes of JSON before the binary part of a body."""
_READING: Final = ("GET", "HEAD")
_LENGTH_DIGITS: Final = 10


class App:
    """What the HTTP server asks."""

    def __init__(self, dataplane: Dataplane, metrics: Metrics) -> None:
        self._dataplane = dataplane
        self._metrics = metrics
        self.draining = False
        """No longer ready; still answers."""

    def answer(self, request: Request) -> Answer | Awaitable[Answer]:
        """At once where nothing has to be waited for. Neither raises."""
        try:
            # `OPTIONS *` has a path without a slash
            parts = request.path.split("/")[1:] or [request.path]
            # fewer or more parts name a model or a version that is called so
            if parts[-1] == "infer" and parts[:2] == ["v2", "models"] and len(parts) in (4, 6):
                return self._infer(request, parts)
            if request.problem is not None:
                raise request.problem
            if parts == ["metrics"]:
                _expect(request, *_READING)
                return self._tell_metrics()
            status, value = self._look_up(request.path, parts)
            _expect(request, *_READING)
            return Answer(status, _JSON, protocol.encode(value))
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

    async def _tell_metrics(self) -> Answer:
        try:
            return Answer(200, _TEXT, await self._metrics.text())
        except Exception as error:
            return _refusal(error)

    def _infer(self, request: Request, parts: list[str]) -> Answer | Awaitable[Answer]:
        started = time.perf_counter()
        model, version, role = "", "", "champion"
        try:
            if request.problem is not None:
                raise request.problem
            match parts:
                case [_, _, name, _]:
                    wanted = None
                case [_, _, name, "versions", wanted, _]:
                    pass
                case _:
                    raise NotFoundError(f"there is nothing at {request.path[:200]}")
            _expect(request, "POST")
            loaded = self._dataplane.select(name, wanted)
            model, version = loaded.lifecycle, loaded.version
            asked = protocol.parse(request.body, _json_length(request.headers))
            answered = self._dataplane.infer(loaded, asked, pinned=wanted is not None)
            if not isinstance(answered, Answered):
                return self._infer_later(loaded, asked, answered, started)
            role, response = answered
            version = response.model_version
            answer = _encoded(asked, response)
        except Exception as error:
            answer = _refusal(error)
        self._metrics.of(model, version, role).answered(answer.status, time.perf_counter() - started)
        return answer

    async def _infer_later(
        self,
        loaded: LoadedVersion,
        asked: protocol.InferRequest,
        answering: Awaitable[Answered],
        started: float,
    ) -> Answer:
        """The rest of `_infer`, where the answer has to be waited for."""
        version, role = loaded.version, "champion"
        try:
            role, response = await answering
            version = response.model_version
            answer = _encoded(asked, response)
        except Exception as error:
            answer = _refusal(error)
        self._metrics.of(loaded.lifecycle, version, role).answered(
            answer.status, time.perf_counter() - started
        )
        return answer


def _encoded(asked: protocol.InferRequest, response: protocol.InferResponse) -> Answer:
    if not asked.wants_binary():
        return Answer(200, _JSON, protocol.encode(response))
    said, json_length = protocol.encode_binary(response)
    return Answer(200, [_BINARY, (_JSON_LENGTH, str(json_length))], said)


def _expect(request: Request, *methods: str) -> None:
    if request.method not in methods:
        raise HttpError(
            405,
            f"{request.method[:80]} is not allowed on {request.path[:200]}",
            f"use {methods[0]}",
            ("allow", ", ".join(methods)),
        )


def _json_length(headers: Mapping[str, str]) -> int | None:
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


def _refusal(error: Exception) -> Answer:
    headers = [*_JSON, *error.headers] if isinstance(error, HttpError) else _JSON
    return Answer(_status(error), headers, protocol.error_body(_message(error)))


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
    return 500


def _message(error: Exception) -> str:
    """What the caller may know; the log has the rest."""
    if isinstance(error, WindtunnelError):
        if _status(error) == 500:
            log.error("%s", error, exc_info=error)
        return str(error)
    log.error("unexpected error while answering", exc_info=error)
    return "internal error; the server's log says more"

"""What is asked and answered over HTTP."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from windtunnel.serving.http_body import HttpError

_STATUS_LINES: Final = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus}


class Request(NamedTuple):
    """One request, read to its end."""

    method: str
    path: str
    """Percent-decoded, without the query."""
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes
    problem: HttpError | None = None
    """Why it is not whole; it is to be refused with that."""


class Answer(NamedTuple):
    """What is sent back; content-length, date and connection are added to the headers."""

    status: int
    headers: Sequence[tuple[str, str]]
    body: bytes


class Application(Protocol):
    """Who answers."""

    def answer(self, request: Request) -> Answer | Awaitable[Answer]:
        """At once where nothing has to be waited for: that saves a task's turn. Neither raises."""


def read_path(url: bytes) -> str:
    """The path of a request's target."""
    path = url.partition(b"?")[0].decode("latin-1")
    if not path.startswith("/") and "://" in path:
        # as it is sent to a proxy
        path = "/" + path.partition("://")[2].partition("/")[2]
    return unquote(path) if "%" in path else path


def encode_head(answer: Answer, date: str, last: bool) -> bytes:
    """What comes before the body; `date` is that header, with its line end."""
    fields = "".join([f"{name}: {value}\r\n" for name, value in answer.headers])
    return (
        f"{_STATUS_LINES[answer.status]}{fields}content-length: {len(answer.body)}\r\n{date}"
        f"connection: {'close' if last else 'keep-alive'}\r\n\r\n"
    ).encode("latin-1")

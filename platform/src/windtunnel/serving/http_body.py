"""What callers may send, and a body as it comes: within what one caller and all together may hold."""

from __future__ import annotations

from dataclasses import dataclass

from windtunnel.errors import WindtunnelError


class HttpError(WindtunnelError):
    """An error that is about HTTP itself."""

    def __init__(self, status: int, what: str, fix: str = "", header: tuple[str, str] | None = None) -> None:
        super().__init__(what, fix=fix)
        self.status = status
        self.headers = [header] if header else []
        """That HTTP wants beside the status."""


@dataclass(frozen=True)
class Limits:
    """What callers may take."""

    body: int = 4 * 1024 * 1024
    """Bytes of a body."""
    held: int = 32 * 1024 * 1024
    """Bytes of all bodies together that are being read or wait for their answer; a pod has little memory."""
    small: int = 64 * 1024
    """Bytes of a body that is taken all the same: who hoards keeps nobody else from asking."""
    dropped: int = 64 * 1024 * 1024
    """Bytes of a refused body that are read and dropped, so that a well-behaved caller gets to see the
    refusal."""
    head: int = 64 * 1024
    """Bytes of request line and headers, beside what came at once; of trailers, too."""
    headers: int = 100
    request_seconds: float = 30.0
    """For a request to come, and for an answer to be taken."""
    connections: int = 4096
    idle_seconds: float = 620.0
    """Between requests; longer than load balancers keep theirs (600 s at most), so that it is they who close
    and no request meets a closing connection."""


@dataclass
class Held:
    """What all connections of a server hold together."""

    bytes: int = 0


class Body:
    """One request's body; counted in `held` until it is taken or dropped."""

    def __init__(self, limits: Limits, held: Held) -> None:
        self._limits = limits
        self._held = held
        self._data: bytes | bytearray = b""
        self.size = 0
        """Bytes that have come."""
        self.problem: HttpError | None = None
        """Why they are not kept."""

    def add(self, chunk: bytes) -> None:
        """Keep it, if it may be kept."""
        self.size += len(chunk)
        if self.problem is not None:
            return
        limits, held = self._limits, self._held
        if self.size > limits.body:
            self._refuse(
                HttpError(
                    413, f"the body is larger than {limits.body >> 20} MiB", "send fewer rows in a request"
                )
            )
        elif held.bytes + len(chunk) > limits.held and self.size > limits.small:
            self._refuse(
                HttpError(429, "callers send too much at once", "send it again", ("retry-after", "1"))
            )
        else:
            held.bytes += len(chunk)
            if not self._data:
                # most bodies come in one piece
                self._data = chunk
                return
            if not isinstance(self._data, bytearray):
                self._data = bytearray(self._data)
            self._data += chunk

    def take(self) -> bytes:
        """All of it, which the taker has to count out of `held` when it is done with."""
        data, self._data = bytes(self._data), b""
        return data

    def drop(self) -> None:
        """Keep nothing of it."""
        self._held.bytes -= len(self._data)
        self._data = b""

    def _refuse(self, problem: HttpError) -> None:
        self.problem = problem
        self.drop()

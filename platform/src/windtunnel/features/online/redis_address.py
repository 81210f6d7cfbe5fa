"""Where a Redis (or Valkey) is, and how to log in to it."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote, urlsplit

from windtunnel.errors import PermanentError

SCHEMES: Final = ("redis://", "rediss://")
_WHERE: Final = "WINDTUNNEL_ONLINE_STORE"
_FORM: Final = "set it to redis://host:port/db, or rediss:// for TLS"


@dataclass(frozen=True)
class RedisAddress:
    """One server."""

    host: str
    port: int = 6379
    db: int = 0
    username: str = ""
    password: str = field(default="", repr=False)
    tls: ssl.SSLContext | None = None

    @classmethod
    def parse(cls, url: str, password: str = "") -> RedisAddress:
        """`password` goes before one in the URL. TLS trusts the system's authorities, or those of
        SSL_CERT_FILE. Raises PermanentError, which shows neither URL nor password."""
        try:
            parts = urlsplit(url)
            port = parts.port or 6379
            db = int(parts.path.strip("/") or 0)
        except ValueError:
            # without its cause, which repeats what stands where the port should be
            raise PermanentError(
                "the port and the database of the online store are numbers", where=_WHERE, fix=_FORM
            ) from None
        if not url.startswith(SCHEMES) or not parts.hostname or db < 0:
            raise PermanentError("this is no address of a Redis", where=_WHERE, fix=_FORM)
        if parts.query or parts.fragment:
            raise PermanentError(
                "options in the address of the online store are not supported",
                where=_WHERE,
                fix=f"{_FORM}; name certificate authorities by SSL_CERT_FILE",
            )
        return cls(
            host=parts.hostname,
            port=port,
            db=db,
            username=unquote(parts.username or ""),
            password=password or unquote(parts.password or ""),
            tls=ssl.create_default_context() if parts.scheme == "rediss" else None,
        )

    def login(self) -> tuple[tuple[bytes, ...], ...]:
        """The commands to begin a connection with."""
        commands: list[tuple[bytes, ...]] = []
        if self.password:
            user = (self.username.encode(),) if self.username else ()
            commands.append((b"AUTH", *user, self.password.encode()))
        if self.db:
            commands.append((b"SELECT", str(self.db).encode()))
        return tuple(commands)

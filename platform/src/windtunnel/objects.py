"""The object store: an S3 bucket or a directory, with the same behaviour.

Keys are relative, `/`-separated and safe; a write is atomic; `put_new` is the only primitive that races are
decided by. Every fault of the network or of the store becomes StoreError (a retry may help), an absent object
NotFoundError. Nothing else in Windtunnel knows the client library.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote, unquote, urlsplit

from windtunnel.digests import digest
from windtunnel.errors import NotFoundError, PermanentError, RequestError, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from obstore.store import S3Config

__all__ = ["Entry", "ObjectStore", "check_key", "digest", "open_store"]

# What S3, file systems and URIs all take; in particular no `..`, no empty segment, no leading slash, no `#`
# (the client library writes `<name>#<n>` while a file is incomplete and hides such names in listings).
# Nor a colon at the end: the client library takes `a:` for a drive letter and makes a folder of it.
_SEGMENT = re.compile(r"[A-Za-z0-9_.=+@:, ()\-]*[A-Za-z0-9_.=+@, ()\-]")


@dataclass(frozen=True)
class Entry:
    """One object in a listing; `size` in bytes, `modified` in UTC."""

    key: str
    size: int
    etag: str
    modified: datetime


def is_key(key: str) -> bool:
    """Whether it is a key that we would write: listings may have others' as well."""
    segments = key.split("/")
    whole = all(s not in (".", "..") and _SEGMENT.fullmatch(s) for s in segments)
    return bool(key) and len(key) <= 900 and whole


def check_key(key: str) -> str:
    """The key itself; raises RequestError when it could leave its place or mean two things."""
    if not is_key(key):
        raise RequestError(
            f"{key!r} is not a key of an object",
            where="object store",
            fix="keys are relative paths of letters, digits and _.=+@:,()- without empty or dotted segments",
        )
    return key


class ObjectStore:
    """`url` is `s3://bucket[/prefix]` or `file:///directory`; make one with `open_store`."""

    def __init__(self, url: str, backend: Any) -> None:
        self.url = url
        self._backend = backend

    def __repr__(self) -> str:
        return f"ObjectStore({self.url!r})"

    def get(self, key: str) -> bytes:
        import obstore

        with _mapped(self.url, key):
            return bytes(obstore.get(self._backend, check_key(key)).bytes())

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """`length` bytes from `start` on; fewer where the object ends before."""
        import obstore

        with _mapped(self.url, key):
            return bytes(obstore.get_range(self._backend, check_key(key), start=start, length=length))

    def put(self, key: str, data: bytes) -> None:
        """Write or overwrite, atomically."""
        import obstore

        with _mapped(self.url, key):
            obstore.put(self._backend, check_key(key), data)

    def put_new(self, key: str, data: bytes) -> bool:
        """Write unless it exists; of any number of concurrent writers exactly one gets True."""
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        with _mapped(self.url, key):
            try:
                # One request: a multipart upload cannot be conditional.
                obstore.put(self._backend, check_key(key), data, mode="create", use_multipart=False)
            except (AlreadyExistsError, PreconditionError):
                return False
        return True

    def exists(self, key: str) -> bool:
        return self.modified(key) is not None

    def modified(self, key: str) -> datetime | None:
        """When it was written last, by the store's clock; None for what is not there."""
        import obstore

        try:
            with _mapped(self.url, key):
                found: datetime = obstore.head(self._backend, check_key(key))["last_modified"]
        except NotFoundError:
            return None
        return found

    def folders(self, prefix: str = "") -> list[str]:
        """Names of the folders right below `prefix`, sorted."""
        import obstore

        folder = check_key(prefix.rstrip("/")) if prefix else None
        with _mapped(self.url, prefix):
            found = obstore.list_with_delimiter(self._backend, folder)["common_prefixes"]
        return sorted(path.rstrip("/").rpartition("/")[2] for path in found)

    def each(self, prefix: str = "") -> Iterator[Entry]:
        """As `list`, in any order and one after the other: what is not kept takes no memory."""
        return self._listed(prefix, "")

    def _listed(self, prefix: str, after: str) -> Iterator[Entry]:
        import obstore

        folder = check_key(prefix.rstrip("/")) if prefix else None
        with _mapped(self.url, prefix):
            for chunk in obstore.list(self._backend, folder, offset=check_key(after) if after else None):
                for m in chunk:
                    etag = (m["e_tag"] or "").strip('"')
                    yield Entry(m["path"], m["size"], etag, m["last_modified"])

    def list(self, prefix: str = "", *, after: str = "") -> list[Entry]:
        """Objects below `prefix` (whole path segments: `a/b` lists `a/b/c`, not `a/bc`), sorted by key; only
        those behind the key `after`, if there is one (an S3 store then lists no others).
        """
        return sorted(self._listed(prefix, after), key=lambda entry: entry.key)

    def delete(self, key: str) -> None:
        """Delete; an absent object is no error."""
        import obstore

        try:
            with _mapped(self.url, key):
                obstore.delete(self._backend, check_key(key))
        except NotFoundError:
            return

    def uri(self, key: str) -> str:
        """The absolute name of a key, for references."""
        return f"{self.url}/{check_key(key)}"

    def key(self, uri: str) -> str:
        """The key of a URI below this store; a URI without a scheme is a key already."""
        if "://" not in uri:
            return check_key(uri)
        if not uri.startswith(self.url + "/"):
            raise RequestError(f"{uri} is not in this object store", where=self.url)
        return check_key(uri.removeprefix(self.url + "/"))


def open_store(
    url: str, environ: Mapping[str, str], *, patience_seconds: float = 60, request_seconds: float = 120
) -> ObjectStore:
    """Open `s3://bucket[/prefix]` (credentials and endpoint by AWS_* in `environ`) or a directory.

    The directory is made when it is absent. Nothing is asked of S3 yet; faults of it are retried until
    `patience_seconds` have passed, and one request may take `request_seconds`.
    """
    if url.startswith("s3://"):
        return _open_s3(url, environ, patience_seconds, request_seconds)
    if "://" in url and not url.startswith("file://"):
        raise PermanentError(
            f"{url!r} is no object store", where="WINDTUNNEL_STORE", fix="use s3://bucket[/prefix] or a path"
        )
    return _open_directory(unquote(urlsplit(url).path) if url.startswith("file://") else url)


def _open_directory(path: str) -> ObjectStore:
    from obstore.store import LocalStore

    directory = Path(path).expanduser().resolve()
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PermanentError(f"cannot make the directory: {error.strerror}", where=str(directory)) from error
    return ObjectStore("file://" + quote(str(directory)), LocalStore(directory))


def _open_s3(
    url: str, environ: Mapping[str, str], patience_seconds: float, request_seconds: float
) -> ObjectStore:
    from obstore.store import S3Store

    parts = urlsplit(url)
    prefix = parts.path.strip("/")
    if not parts.netloc:
        raise PermanentError(
            f"{url!r} names no bucket", where="WINDTUNNEL_STORE", fix="use s3://bucket[/prefix]"
        )
    config: dict[str, Any] = {"region": environ.get("AWS_REGION") or "us-east-1"}
    endpoint = environ.get("AWS_ENDPOINT_URL_S3") or environ.get("AWS_ENDPOINT_URL")
    if endpoint:
        config |= {"endpoint": endpoint, "virtual_hosted_style_request": False}
    for name in ("access_key_id", "secret_access_key", "session_token"):
        if value := environ.get(f"AWS_{name.upper()}"):
            config[name] = value
    backend = S3Store(
        parts.netloc,
        prefix=prefix or None,
        config=cast("S3Config", config),
        client_options={
            "allow_http": bool(endpoint and endpoint.startswith("http://")),
            "timeout": f"{request_seconds:g}s",
        },
        retry_config={"max_retries": 8, "retry_timeout": timedelta(seconds=patience_seconds)},
    )
    return ObjectStore(f"s3://{parts.netloc}/{prefix}".rstrip("/"), backend)


@contextmanager
def _mapped(url: str, key: str) -> Iterator[None]:
    """Every fault of the client becomes one of ours; its first line says what, the rest is debug output."""
    from obstore.exceptions import AlreadyExistsError, BaseError, PermissionDeniedError, UnauthenticatedError

    where = f"{url}/{key}"
    try:
        yield
    except FileNotFoundError as error:
        raise NotFoundError("there is no such object, or no such bucket", where=where) from error
    except (PermissionDeniedError, UnauthenticatedError) as error:
        raise PermanentError(
            f"the object store refused: {_first_line(error)}",
            where=where,
            fix="check the credentials and the rights on the bucket",
        ) from error
    except AlreadyExistsError:
        raise
    except (BaseError, OSError) as error:
        raise StoreError(f"the object store failed: {_first_line(error)}", where=where) from error


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0]

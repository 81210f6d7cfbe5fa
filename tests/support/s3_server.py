"""A small S3 server in memory, in a thread: objects with conditional puts, listings, and faults on demand.

It knows what the object store asks of one, over real HTTP; the real server is tested in the cluster.
"""

from __future__ import annotations

import hashlib
import re
import threading
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from http_server import LocalServer, QuietHandler, answering

if TYPE_CHECKING:
    from contextlib import AbstractContextManager


class S3Server(LocalServer):
    """`objects` by path (`/bucket/key`); every request is answered with `fault` while that is set."""

    def __init__(self) -> None:
        super().__init__(_Handler)
        self.objects: dict[str, bytes] = {}
        self.reads: list[str] = []
        """Paths of the objects that were read, in order."""
        self.lock = threading.Lock()
        self.fault: HTTPStatus | None = None

    @property
    def environment(self) -> dict[str, str]:
        """AWS_* variables that lead here."""
        return {
            "AWS_ENDPOINT_URL_S3": self.address,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test-secret",
            "AWS_REGION": "us-east-1",
        }


def s3_server() -> AbstractContextManager[S3Server]:
    return answering(S3Server())


class _Handler(QuietHandler):
    protocol_version = "HTTP/1.1"
    server: S3Server

    @property
    def _name(self) -> str:
        return unquote(urlsplit(self.path).path)

    def do_PUT(self) -> None:
        data = self.rfile.read(int(self.headers["Content-Length"]))
        with self.server.lock:
            exists = self._name in self.server.objects
            if self.server.fault is None and not (exists and self.headers.get("If-None-Match") == "*"):
                self.server.objects[self._name] = data
                return self._answer(HTTPStatus.OK, etag=_etag(data))
        return self._answer(HTTPStatus.PRECONDITION_FAILED)

    def do_GET(self) -> None:
        if "list-type" in parse_qs(urlsplit(self.path).query):
            return self._list()
        return self._read()

    do_HEAD = do_GET

    def do_DELETE(self) -> None:
        with self.server.lock:
            self.server.objects.pop(self._name, None)
        self._answer(HTTPStatus.NO_CONTENT)

    def do_POST(self) -> None:
        """Delete several objects, named in the body."""
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        keys = [part.partition("</Key>")[0] for part in body.split("<Key>")[1:]]
        with self.server.lock:
            for key in keys:
                self.server.objects.pop(f"{self._name.rstrip('/')}/{key}", None)
        deleted = "".join(f"<Deleted><Key>{escape(key)}</Key></Deleted>" for key in keys)
        self._answer(HTTPStatus.OK, f"<DeleteResult>{deleted}</DeleteResult>".encode())

    def _read(self) -> None:
        data = self.server.objects.get(self._name)
        if data is None:
            return self._answer(HTTPStatus.NOT_FOUND, b"<Error><Code>NoSuchKey</Code></Error>")
        self.server.reads.append(self._name)
        asked = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        if not asked or not any(asked.groups()):
            return self._answer(HTTPStatus.OK, data, etag=_etag(data))
        if asked[1]:
            first, last = int(asked[1]), min(int(asked[2] or len(data)), len(data) - 1)
        else:
            first, last = max(0, len(data) - int(asked[2])), len(data) - 1
        where = f"bytes {first}-{last}/{len(data)}"
        return self._answer(HTTPStatus.PARTIAL_CONTENT, data[first : last + 1], _etag(data), where)

    def _list(self) -> None:
        bucket = self._name.rstrip("/") + "/"
        asked = parse_qs(urlsplit(self.path).query)
        prefix, delimiter = asked.get("prefix", [""])[0], asked.get("delimiter", [""])[0]
        after = asked.get("start-after", [""])[0]
        with self.server.lock:
            found = {
                name.removeprefix(bucket): data
                for name, data in sorted(self.server.objects.items())
                if name.startswith(bucket + prefix) and name > bucket + after
            }
        folders: set[str] = set()
        if delimiter:
            below = {key: key[len(prefix) :].partition(delimiter) for key in found}
            folders = {prefix + name + delimiter for name, within, _ in below.values() if within}
            found = {key: data for key, data in found.items() if not below[key][1]}
        contents = "".join(
            f"<CommonPrefixes><Prefix>{escape(folder)}</Prefix></CommonPrefixes>"
            for folder in sorted(folders)
        ) + "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{len(data)}</Size><ETag>{_etag(data)}</ETag>"
            "<LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
            for key, data in found.items()
        )
        self._answer(
            HTTPStatus.OK,
            f"<ListBucketResult><IsTruncated>false</IsTruncated>{contents}</ListBucketResult>".encode(),
        )

    def _answer(
        self, status: HTTPStatus, body: bytes = b"", etag: str | None = None, part: str | None = None
    ) -> None:
        if self.server.fault is not None:
            status, body = self.server.fault, b"<Error><Code>Fault</Code></Error>"
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
        if etag:
            self.send_header("ETag", etag)
        if part:
            self.send_header("Content-Range", part)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _etag(data: bytes) -> str:
    return f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'
